#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "teos/receipt.h"
#include "teos/sig.h"

#define TOWER_SECRET "baf94b58d8482ee7ef3c179c214df307a3de27b26dc43e0f69c4e15038d2c1ba"
#define USER_SECRET  "ad8d488566478fe08fbe5367d394ae0879bda26af71e09e1c48db977d809d1a5"

struct server srv;
uint32_t serve_timeout_s = TIMEOUT_S;

/* --- a server on its own loop -------------------------------------------------------------------------------- */

static void on_stopped(void *arg)
{
	(void)arg;
	srv.stopped = true;
	api_free(srv.api);
	uv_close((uv_handle_t *)&srv.stop, NULL);
}

static void on_stop(uv_async_t *h)
{
	(void)h;
	assert_true(atomic_load(&srv.stopping));
	api_stop(srv.api, on_stopped, NULL);
}

static void *loop_thread(void *arg)
{
	(void)arg;
	uv_run(&srv.loop, UV_RUN_DEFAULT);
	return NULL;
}

void fake_reset(void)
{
	memset(&fake, 0, sizeof fake);
	fake.loop = &srv.loop;
	fake.answer = TOWER_PENDING;
	fake.durable = TOWER_OK;
	fake.user_status = TOWER_OK;
	fake.found_status = TOWER_NOT_FOUND;
	fake.user.available_slots = 10000;
	fake.user.subscription_start = 800000;
	fake.user.subscription_expiry = 804320;
	fake.added.start_block = 800000;
	fake.added.available_slots = 9999;
	fake.added.subscription_expiry = 804320;
}

void serve(uint32_t max_connections, uint32_t threads)
{
	const struct api_config cfg = {.bind = "127.0.0.1",
				       .max_connections = max_connections,
				       .threads = threads,
				       .timeout_s = serve_timeout_s,
				       .body_limit = 400000,
				       .min_to_self_delay = 20};
	const char *why = "";

	assert_true(hex_decode(srv.key.secret, 32, TOWER_SECRET, 64));
	assert_true(hex_decode(srv.user_secret, 32, USER_SECRET, 64));
	assert_true(sig_pubkey(&srv.key.id, srv.key.secret));
	uv_loop_init(&srv.loop);
	uv_async_init(&srv.loop, &srv.stop, on_stop);
	fake_reset();
	srv.stopping = srv.stopped = false;
	srv.api = api_new(&cfg, &srv.loop, NULL, &srv.key, &why);
	assert_non_null(srv.api);
	srv.port = api_port(srv.api);
	assert_int_not_equal(srv.port, 0);
	assert_int_equal(client_connect(srv.port), -1); /* not before it is opened */
	assert_false(api_is_open(srv.api));
	assert_true(api_open(srv.api, &why));
	assert_int_equal(pthread_create(&srv.thread, NULL, loop_thread, NULL), 0);
}

void serve_stop(void)
{
	atomic_store(&srv.stopping, true);
	uv_async_send(&srv.stop);
}

void serve_end(void)
{
	pthread_join(srv.thread, NULL);
	assert_true(srv.stopped);
	assert_int_equal(uv_loop_close(&srv.loop), 0);
}

int setup(void **state)
{
	(void)state;
	serve(64, 2);
	return 0;
}

int teardown(void **state)
{
	(void)state;
	serve_stop();
	serve_end();
	return 0;
}

void ping_is_answered(void)
{
	static const char ping[] = "GET /ping HTTP/1.1\r\nHost: t\r\n\r\n";
	struct reply r = client_exchange(srv.port, ping, sizeof ping - 1);

	assert_int_equal(r.status, 200);
	assert_int_equal(r.body_sz, 0);
	assert_null(strcasestr(r.head, "Content-Type"));
	reply_free(&r);
}

void refused(const char *raw, int status, int code)
{
	struct reply r = client_exchange(srv.port, raw, strlen(raw));

	if (r.status != status || reply_code(&r) != code)
		fail_msg("%.80s...: want %d/%d, got %d/%d %s", raw, status, code, r.status, reply_code(&r),
			 r.body);
	assert_non_null(strcasestr(r.head, "Content-Type: application/json"));
	reply_free(&r);
}

char *signed_add_delay(size_t blob_sz, uint32_t delay)
{
	struct locator l;
	uint8_t *blob = malloc(blob_sz + 1), *msg = malloc(blob_sz + 64);
	char *hex = malloc(2 * blob_sz + 1), *body = NULL, sig[SIG_ZB_SZ + 1];

	if (!blob || !msg || !hex)
		abort();
	memset(&l, 0x5a, sizeof l);
	for (size_t i = 0; i < blob_sz; i++)
		blob[i] = (uint8_t)(i * 7);
	assert_true(sig_sign(sig, srv.user_secret, msg,
			     receipt_add_message(msg, &l, blob, (uint32_t)blob_sz, delay)));
	hex_encode(hex, blob, blob_sz);
	if (asprintf(&body,
		     "{\"appointment\":{\"locator\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\","
		     "\"encrypted_blob\":\"%s\","
		     "\"to_self_delay\":%u},\"signature\":\"%s\"}",
		     hex, delay, sig) < 0)
		abort();
	free(blob);
	free(msg);
	free(hex);
	return body;
}

char *signed_add(size_t blob_sz)
{
	return signed_add_delay(blob_sz, 42);
}

char *register_body(void)
{
	static _Thread_local char body[128];
	char hex[2 * USER_ID_SZ + 1];
	struct user_id id;

	assert_true(sig_pubkey(&id, srv.user_secret));
	hex_encode(hex, id.b, USER_ID_SZ);
	snprintf(body, sizeof body, "{\"user_id\":\"%s\"}", hex);
	return body;
}
