# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/broker/acl.o
obj-y += gateway/broker/actor.o
obj-y += gateway/broker/acl_view.o
obj-y += gateway/broker/alias.o
obj-y += gateway/broker/auth.o
obj-y += gateway/broker/auth_cache.o
obj-y += gateway/broker/auth_client.o
obj-y += gateway/broker/auth_password.o
obj-y += gateway/broker/auth_places.o
obj-y += gateway/broker/auth_queue.o
obj-y += gateway/broker/auth_realm.o
obj-y += gateway/broker/auth_service.o
obj-y += gateway/broker/broker.o
obj-y += gateway/broker/client.o gateway/broker/client_bad.o
obj-y += gateway/broker/client_connect.o
obj-y += gateway/broker/client_deliver.o
obj-y += gateway/broker/client_login.o
obj-y += gateway/broker/client_port.o
obj-y += gateway/broker/client_write.o
obj-y += gateway/broker/deliveries.o
obj-y += gateway/broker/message.o
obj-y += gateway/broker/notes.o
obj-y += gateway/broker/packet_id.o
obj-y += gateway/broker/places.o
obj-y += gateway/broker/ports.o
obj-y += gateway/broker/queue.o
obj-y += gateway/broker/replay.o
obj-y += gateway/broker/retain.o
obj-y += gateway/broker/router.o
obj-y += gateway/broker/service.o
obj-y += gateway/broker/session.o
obj-y += gateway/broker/session_ids.o
obj-y += gateway/broker/share.o
obj-y += gateway/broker/share_leave.o
obj-y += gateway/broker/starts.o
obj-y += gateway/broker/terms.o
obj-y += gateway/broker/users.o
obj-$(CONFIG_SCRAM) += gateway/broker/auth_scram.o
feature-$(CONFIG_SCRAM) += scram:CONFIG_SCRAM
obj-$(CONFIG_TOKENS) += gateway/base/signature.o gateway/broker/auth_token.o gateway/broker/jwt.o gateway/broker/token_service.o
feature-$(CONFIG_TOKENS) += tokens:CONFIG_TOKENS
service-$(CONFIG_TOKENS) += service_tokens
service-y += service_auth service_broker

# auth-y: rows of the table of ways to prove who one is, in the order in which they are tried
gen-y += auth
auth-$(CONFIG_TOKENS) += auth_token
auth-y += auth_password auth_certificate auth_anonymous
auth-$(CONFIG_SCRAM) += auth_scram_sha_256 auth_scram_sha_1

define auth_c
#include "broker/auth_private.h"

$(foreach a,$(auth-y),extern const struct auth_backend $a;$(newline))
const struct auth_backend *const auth_backends[] = {
$(foreach a,$(auth-y),    &$a,$(newline))    NULL,
};
endef

$(GEN)/auth.c: FORCE
	$(call generate,auth_c)
