/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite writes page by page. Its files here are written in larger pieces: writes that follow one another are
 * collected and reach the kernel together, at the latest when the file is synced. What is collected is read
 * from here. An error is told by a later write or by the sync, and takes with it what was collected: the
 * transaction or checkpoint that wrote it has then failed as a whole. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/store_sqlite.h"

enum { PIECE = 65536 };

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
    uint8_t *piece;     /* what is collected; made when there is something */
    sqlite3_int64 at;   /* its place in the file */
    int len;
};

static struct file *file_of(sqlite3_file *f)
{
    return (struct file *)(void *)f;
}

static int flush(struct file *f)
{
    int len = f->len;

    f->len = 0;
    return len ? f->real->pMethods->xWrite(f->real, f->piece, len, f->at) : SQLITE_OK;
}

static int on_close(sqlite3_file *base)
{
    struct file *f = file_of(base);
    int rc = flush(f), closed = f->real->pMethods->xClose(f->real);

    free(f->piece);
    f->piece = NULL;
    return rc ? rc : closed;
}

static int on_read(sqlite3_file *base, void *to, int len, sqlite3_int64 at)
{
    struct file *f = file_of(base);

    if (f->len && at >= f->at && at + len <= f->at + f->len) {
        memcpy(to, f->piece + (at - f->at), (size_t)len);
        return SQLITE_OK;
    }
    int rc = f->len && at < f->at + f->len && at + len > f->at ? flush(f) : SQLITE_OK;
    return rc ? rc : f->real->pMethods->xRead(f->real, to, len, at);
}

static int on_write(sqlite3_file *base, const void *from, int len, sqlite3_int64 at)
{
    struct file *f = file_of(base);
    int rc = f->len && (at != f->at + f->len || len > PIECE - f->len) ? flush(f) : SQLITE_OK;

    if (rc)
        return rc;
    if (len > PIECE)
        return f->real->pMethods->xWrite(f->real, from, len, at);
    if (!f->piece)
        f->piece = mem_alloc(PIECE);
    if (!f->len)
        f->at = at;
    memcpy(f->piece + f->len, from, (size_t)len);
    f->len += len;
    return SQLITE_OK;
}

static int on_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct file *f = file_of(base);
    int rc = flush(f);

    return rc ? rc : f->real->pMethods->xTruncate(f->real, size);
}

static int on_sync(sqlite3_file *base, int flags)
{
    struct file *f = file_of(base);
    int rc = flush(f);

    free(f->piece);
    f->piece = NULL;
    return rc ? rc : f->real->pMethods->xSync(f->real, flags);
}

static int on_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct file *f = file_of(base);
    int rc = f->real->pMethods->xFileSize(f->real, size);

    if (f->len && *size < f->at + f->len)
        *size = f->at + f->len;
    return rc;
}

static int on_lock(sqlite3_file *base, int lock)
{
    return file_of(base)->real->pMethods->xLock(file_of(base)->real, lock);
}

static int on_unlock(sqlite3_file *base, int lock)
{
    return file_of(base)->real->pMethods->xUnlock(file_of(base)->real, lock);
}

static int on_check(sqlite3_file *base, int *reserved)
{
    return file_of(base)->real->pMethods->xCheckReservedLock(file_of(base)->real, reserved);
}

static int on_control(sqlite3_file *base, int what, void *arg)
{
    return file_of(base)->real->pMethods->xFileControl(file_of(base)->real, what, arg);
}

static int on_sector(sqlite3_file *base)
{
    return file_of(base)->real->pMethods->xSectorSize(file_of(base)->real);
}

static int on_device(sqlite3_file *base)
{
    return file_of(base)->real->pMethods->xDeviceCharacteristics(file_of(base)->real);
}

/* Version 1: without shared memory, which the exclusive lock makes needless. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_device,
};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out_flags)
{
    sqlite3_vfs *system = vfs->pAppData;
    struct file *f = file_of(base);

    memset(f, 0, sizeof(*f));
    f->real = (sqlite3_file *)(f + 1);
    int rc = system->xOpen(system, name, f->real, flags, out_flags);
    /* SQLite closes whatever has methods. */
    f->base.pMethods = f->real->pMethods ? &methods : NULL;
    return rc;
}

const char *vfs_name(void)
{
    static sqlite3_vfs vfs;
    sqlite3_vfs *system = sqlite3_vfs_find(NULL);

    if (vfs.zName)
        return vfs.zName;
    vfs = *system;
    vfs.zName = "sluice";
    vfs.pNext = NULL;
    vfs.pAppData = system;
    vfs.szOsFile = (int)sizeof(struct file) + system->szOsFile;
    vfs.xOpen = on_open;
    return sqlite3_vfs_register(&vfs, 0) ? NULL : vfs.zName;
}
