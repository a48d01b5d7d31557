/* harness.h - the real API on a loop of its own, in front of the commanded tower. */
#ifndef VIGIL_TESTS_API_HARNESS_H
#define VIGIL_TESTS_API_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <uv.h>

#include "api/api.h"
#include "client.h"
#include "fake_tower.h"

#define TIMEOUT_S 1 /* of silence, in these tests */

struct server {
	uv_loop_t loop;
	uv_async_t stop; /* serve_stop wakes it */
	pthread_t thread;
	struct api *api;
	struct tower_key key;
	uint8_t user_secret[32];
	uint16_t port;
	atomic_bool stopping, stopped;
};
extern struct server srv;
extern uint32_t serve_timeout_s; /* of servers started from now on; TIMEOUT_S */

/* A tower that says yes to everything at once. */
void fake_reset(void);

/* Asks the server to stop.  What the caller did to it before has happened before its end: the loop's own wake-up
   orders the same, but where no sanitizer can see it. */
void serve_stop(void);
/* Starts the server; serve_end waits until it has stopped. */
void serve(uint32_t max_connections, uint32_t threads);
void serve_end(void);
/* Group fixtures: 64 connections, two threads. */
int setup(void **state);
int teardown(void **state);

void ping_is_answered(void);
/* Sends raw, wants this status and code in a JSON body. */
void refused(const char *raw, int status, int code);
/* A body for add_appointment, signed by the test's user; free it. */
char *signed_add(size_t blob_sz);
char *signed_add_delay(size_t blob_sz, uint32_t delay);
/* A body for register; one buffer a thread. */
char *register_body(void);

/* The end of a request line, with the headers every request has. */
#define H    " HTTP/1.1\r\nHost: t\r\n"
#define JSON "Content-Type: application/json\r\n"

#endif
