# SPDX-License-Identifier: Apache-2.0
"""sluicectl import: makers' register lists as they come, what becomes of their rows, and what is told of those that become nothing."""
import re
import subprocess

import pytest
from daemon import SLUICECTL, SLUICED, Sluiced, wait_for
from field import FAST, Watcher, check, conf, line, simulated

pytestmark = pytest.mark.skipif(not SLUICED.exists(), reason="not built")


def imported(folder, text, *words, encoding="utf-8"):
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    done = subprocess.run([SLUICECTL, "import", path, *words], capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr.replace(str(path), "list.csv")


def points(out):
    return re.findall(r"\{ (name = .*?;) \}[ ,\n]", out.replace(" write = { };", " write;"))


def check_both(folder, text, *words):
    """The list as a profile and as a device: --check finds both right."""
    code, out, err = imported(folder, text, *words)
    assert code == 0, err
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "list.conf").write_text(out)
    rtu = conf([line("/dev/ttyS0")], ['{ name = "d"; line = "a"; unit = 1; profile = "list"; }'])
    checked, said = check(folder, 'profile_path = "profiles";\n' + rtu)
    assert checked == 0, said + out
    code, device, _ = imported(folder, text, *words, "line=a", "unit=7", "name=x")
    assert code == 0
    checked, said = check(folder, conf([line("/dev/ttyS0")], []).split("devices")[0] + device)
    assert checked == 0, said + device
    return points(out), err


COMMAS = '''Meter X-100,,,
Address,Name,Data type,Scale,Unit,R/W,Function code,Length,Description
0,Voltage L1,UINT16,0.1,V,R,3,1,"phase, to ""neutral"""
0x0010,Power (total),INT32,x0.01,kWh,RO,FC04,2,
12h,Energy,U64,1/1000,kWh,R,04,4,
100-101,Flow,,,m3/h,R,3,,
7.3,Pump on,BOOL,,,R,3,1,
5,Valve,bit,,,RW,1,1,
9,Setpoint,int16,0.1,°C,R/W,3/6/16,1,
20,Serial,STRING,,,R,3,8,
'''


def test_a_list_with_commas(tmp_path):
    got, err = check_both(tmp_path, COMMAS)
    assert [p.split("; help")[0].rstrip(";") for p in got] == [
        'name = "voltage_l1"; at = "holding:0"; type = "uint16"; scale = 0.1; unit = "V"',
        'name = "power_total"; at = "input:16"; type = "int32"; scale = 0.01; unit = "kW.h"',
        'name = "energy"; at = "input:18"; type = "uint64"; scale = 0.001; unit = "kW.h"',
        'name = "flow"; at = "holding:100"; type = "uint32"; unit = "m3/h"',
        'name = "pump_on"; at = "holding:7.3"; type = "bit"',
        'name = "valve"; at = "coil:5"; type = "bool"; write',
        'name = "setpoint"; at = "holding:9"; type = "int16"; scale = 0.1; unit = "Cel"; write',
        'name = "serial"; at = "holding:20"; type = "string"; length = 16'], got
    assert "help = \"phase, to 'neutral'\"" in got[0] and err == "8 points of 8 rows\n"


def test_a_german_list_as_a_spreadsheet_writes_it(tmp_path):
    text = ('\ufeffAdresse;Bezeichnung;Datentyp;Faktor;Einheit;Zugriff\r\n1;Spannung;UINT16;0,1;V;R\r\n2;Strom;INT32;0,001;A;R/W\r\n'
            '"4";"mehr\r\nzeilig";FLOAT32;;;lesen\r\n')
    got, _ = check_both(tmp_path, text, "base=1", "order=CDAB", "every=2s")
    assert [re.sub(r' help = ".*', "", p) for p in got] == [
        'name = "spannung"; at = "holding:1"; type = "uint16"; scale = 0.1; unit = "V";',
        'name = "strom"; at = "holding:2"; type = "int32"; scale = 0.001; unit = "A"; write;',
        'name = "mehr_zeilig"; at = "holding:4"; type = "float32";'], got
    _, out, _ = imported(tmp_path, text, "base=1", "order=CDAB", "every=2s")
    assert 'base = 1;\norder = "CDAB";\n' in out and 'every = "2s"' in out


def test_a_list_in_windows_letters(tmp_path):
    """Spreadsheets in Europe write Windows-1252 unless they are told otherwise: its units and names are those of the same list in UTF-8."""
    text = "Adresse;Bezeichnung;Einheit;Beschreibung\r\n1;Rücklauftemperatur;°C;5 – 90 °C\r\n2;Größe Übergang;m³;€\r\n3;Débit d'eau;µS;±5\r\n"
    code, out, err = imported(tmp_path, text)
    assert (code, err) == (0, "3 points of 3 rows\n")
    assert points(out) == [
        'name = "ruecklauftemperatur"; at = "holding:1"; type = "uint16"; unit = "Cel"; help = "5 – 90 °C";',
        'name = "groesse_uebergang"; at = "holding:2"; type = "uint16"; unit = "m³"; help = "€";',
        'name = "debit_d_eau"; at = "holding:3"; type = "uint16"; unit = "µS"; help = "±5";']
    assert imported(tmp_path, text, encoding="cp1252") == (code, out, err)


def test_a_separator_is_what_makes_titles(tmp_path):
    got, _ = check_both(tmp_path, "Made; by; nobody; in; particular\nAddress,Name,Description\n1,a,one; two; three; four; five\n")
    assert got == ['name = "a"; at = "holding:1"; type = "uint16"; help = "one; two; three; four; five";']
    got, _ = check_both(tmp_path, "Address;Name;Scale;Description\n1;a;0,5;one, two, three, four, five, six, seven\n")
    assert got[0].startswith('name = "a"; at = "holding:1"; type = "uint16"; scale = 0.5;')


def test_numbers_as_40001(tmp_path):
    text = "Register\tParameter\tFormat\tGain\n40001\tPhase A\tINT16\t10\n30012\tHours\tDWORD\t\n"
    code, out, err = imported(tmp_path, text)
    assert code == 1 and not out and "addresses such as 40001 can be meant in two ways: say numbers=40001" in err
    got, _ = check_both(tmp_path, text, "numbers=40001")
    assert got[0].startswith('name = "phase_a"; at = "holding:1"; type = "int16"; scale = 0.1;')
    assert got[1].startswith('name = "hours"; at = "input:12"; type = "uint32";')
    got, _ = check_both(tmp_path, text, "numbers=plain", "table=input")
    assert [re.search('at = "(.*?)"', p)[1] for p in got] == ["input:40001", "input:30012"]
    # Coils and discrete inputs among them make it no less doubtful.
    mixed = "Register;Name;Type\n00001;Pump;BOOL\n10001;Fault;BOOL\n40001;Phase A;INT16\n"
    code, out, err = imported(tmp_path, mixed)
    assert code == 1 and not out and "addresses such as 40001 can be meant in two ways: say numbers=40001" in err
    got, _ = check_both(tmp_path, mixed, "numbers=40001")
    assert [re.search('at = "(.*?)"', p)[1] for p in got] == ["coil:1", "discrete:1", "holding:1"]
    # Janitza's and others' are addresses however many digits they have.
    assert "holding:19000" in check_both(tmp_path, "address,name,type\n19000,u,float\n")[0][0]


def test_both_notations_of_an_address_and_a_scale_in_the_unit(tmp_path):
    got, _ = check_both(tmp_path, "Address (hex),Address (dec),Name,Type,Unit,Min,Max,Access\n10,16,a,U16,0.1V,0,50,rw\n11,17,a,S16,-,,,r\n")
    assert got[0].startswith('name = "a"; at = "holding:16"; type = "uint16"; scale = 0.1; unit = "V"; write = { min = 0.0; max = 50.0; };')
    assert got[1].startswith('name = "a_2"; at = "holding:17"; type = "int16";') and "unit" not in got[1]
    assert "holding:16" in check_both(tmp_path, "Hex,Tag\n10,a\n")[0][0]


MISTAKES = {
    "address": ("n/a,x,UINT16,,,,,,", '"n/a" is no address'),
    "name": ("1,--,UINT16,,,,,,", "it has no name with letters or digits"),
    "type": ("1,x,UINT8,,,,,,", 'type "UINT8" is not known'),
    "length": ("1,x,INT32,,,,,1,", 'type "INT32" is not known, or not of 1 register'),
    "string": ("1,x,STRING,,,,,,", 'type "STRING" is not known, or needs a count of registers'),
    "scale": ("1,x,INT16,ten,,,,,", 'scale = "ten" is no number'),
    "zero": ("1,x,INT16,0,,,,,", "a scale of 0 would make every value the same"),
    "thousands": ('1,x,INT16,"1,000",,,,,', 'scale = "1,000" is no number'),
    "function": ("1,x,INT16,,,,99,,", '"99" is no function or table'),
    "write only": ("1,x,INT16,,,WO,3,,", '"WO" can only be written'),
    "count": ("1,x,INT16,,,,,126,", '"126" is no number of registers'),
    "bit": ("1.16,x,bool,,,,3,,", "a register has the bits 0 to 15"),
    "bit of a coil": ("1.2,x,bool,,,,1,,", "a coil or discrete input has no bits"),
    "beyond": ("65535,x,INT32,,,,,,", "address 65535 is not between 0 and 65534"),
    "quote": ('1,"x,INT16', "a quote is not closed"),
    "long": (f"1,{'x' * 600},INT16", "a field is too long"),
}


@pytest.mark.parametrize("row, says", MISTAKES.values(), ids=MISTAKES)
def test_a_row_that_cannot_be_used_is_told_with_its_line(tmp_path, row, says):
    head = COMMAS.splitlines()[1]
    code, out, err = imported(tmp_path, f"{head}\n0,good,INT16,,,,,,\n{row}\n")
    assert code == 0 and 'name = "good"' in out and out.count("name = ") == 1
    assert f"list.csv:3: {says}" in err and "1 points of 2 rows" in err, err
    code, out, err = imported(tmp_path, f"{head}\n{row}\n")
    assert code == 1 and not out and f"list.csv:2: {says}" in err and "list.csv: no row could be used" in err


def test_what_is_said_to_be_writable_and_cannot_be_is_read(tmp_path):
    code, out, err = imported(tmp_path, COMMAS.splitlines()[1] + "\n1,x,INT16,,,RW,4,,\n2,y,INT16,,,maybe,3,,\n")
    assert code == 0 and "write" not in out and "list.csv:2: x is said to be writable, but an input register cannot be written" in err
    assert 'list.csv:3: access "maybe" is not known' in err


def test_what_is_no_list_and_wrong_words_are_told(tmp_path):
    for text in ("", "a,b\n1,2\n", b"\xff\xfe\0\1,\0" * 50, "address,type\n1,int16\n"):
        code, out, err = imported(tmp_path, text)
        assert code == 1 and not out and "no row of titles with an address and a name" in err
    for word in ("base=2", "table=x", "numbers=no", "order=EFGH", "every=10", "name=a b", "unit=7", "line=", "what=1", "base"):
        code, out, err = imported(tmp_path, COMMAS, word)
        assert code == 2 and not out and err.startswith("sluicectl: "), word
    assert subprocess.run([SLUICECTL, "import", tmp_path], capture_output=True, timeout=20).returncode == 1
    assert subprocess.run([SLUICECTL, "import", tmp_path / "no.csv"], capture_output=True, timeout=20).returncode == 1


def test_an_imported_device_is_read(tmp_path, ending):
    tty = simulated(tmp_path, ending, 'baud = 115200; format = "8N1"; stations = ( { name = "one"; unit = 1; '
                    'holding = ( { at = 0; constant = 2301; }, { at = 1; type = "int32"; constant = -70000; } ); } );')
    _, device, _ = imported(tmp_path, "Address,Name,Type,Scale\n0,U,UINT16,0.1\n1,I,INT32,0.001\n", "line=a", "name=m", "every=100ms")
    daemon = ending(Sluiced(tmp_path, conf([line(tty, more=FAST)], []).split("devices")[0] + device)).start()
    watcher = ending(Watcher(daemon))
    assert watcher.wait("m/data/all", lambda p: "q" not in p)["v"] == {"u": 230.1, "i": -70}
    wait_for(lambda: watcher.on("m/state")[-1]["state"] == "online", what="the device")
