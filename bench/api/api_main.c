/* vigil-bench-api - load on a tower's API and on its link, and what it is measured against.

     vigil-bench-api crypto ROUNDS          processor time of one public-key recovery plus one signature
     vigil-bench-api disk DIR WRITES        time of one synced write of 4 KiB behind the end of a file
     vigil-bench-api stub SOCKET            in the dataplane's place, see stub.h
     vigil-bench-api add [options]          registers users, signs appointments, then starts the clock and sends them

   Each prints one JSON object.  Receipts are checked after the clock was stopped. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/press.h"
#include "api/stub.h"
#include "measure/measure.h"
#include "teos/receipt.h"
#include "teos/sig.h"

#define CRYPTO_REPEAT 50u
#define WRITE_SZ      4096u

static void die(const char *what, const char *why)
{
	fprintf(stderr, "vigil-bench-api: %s: %s\n", what, why);
	exit(1);
}

static int print(json_t *j)
{
	bool ok = j != NULL && json_dumpf(j, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6)) == 0 &&
		  putchar('\n') != EOF;

	json_decref(j);
	return ok ? 0 : 1;
}

/* --- what the figures are set beside ------------------------------------------------------------------------- */

static int crypto(unsigned rounds)
{
	secp256k1_context *ctx = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
	uint8_t key[32] = {1, 2, 3}, digest[32] = {4, 5, 6};
	secp256k1_ecdsa_recoverable_signature sig;
	double recover[MEASURE_ROUNDS_MAX], sign[MEASURE_ROUNDS_MAX], both[MEASURE_ROUNDS_MAX];
	secp256k1_pubkey pub;
	json_t *j = json_object();
	bool ok = secp256k1_ecdsa_sign_recoverable(ctx, &sig, digest, key, NULL, NULL);

	for (unsigned r = 0; r < rounds; r++) {
		double a = measure_cpu_ns(), b, c;

		for (unsigned i = 0; i < CRYPTO_REPEAT; i++)
			ok = secp256k1_ecdsa_recover(ctx, &pub, &sig, digest) && ok;
		b = measure_cpu_ns();
		for (unsigned i = 0; i < CRYPTO_REPEAT; i++) {
			digest[0]++;
			ok = secp256k1_ecdsa_sign_recoverable(ctx, &sig, digest, key, NULL, NULL) && ok;
		}
		c = measure_cpu_ns();
		recover[r] = (b - a) / CRYPTO_REPEAT / 1e3;
		sign[r] = (c - b) / CRYPTO_REPEAT / 1e3;
		both[r] = recover[r] + sign[r];
	}
	secp256k1_context_destroy(ctx);
	if (!ok)
		die("crypto", "the library refuses");
	spread_put(j, "recover_us", spread_of(recover, rounds));
	spread_put(j, "sign_us", spread_of(sign, rounds));
	spread_put(j, "both_us", spread_of(both, rounds));
	return print(j);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Percentiles of v, which is sorted by it. */
static void put_percentiles(json_t *o, const char *prefix, const char *unit, double *v, uint32_t cnt)
{
	static const struct {
		const char *name;
		double share;
	} p[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}};
	char key[64];

	if (cnt > 0)
		qsort(v, cnt, sizeof(*v), by_value);
	for (unsigned i = 0; i < sizeof(p) / sizeof(p[0]) && cnt > 0; i++) {
		uint32_t at = (uint32_t)(p[i].share * cnt);

		snprintf(key, sizeof(key), "%s%s_%s", prefix, p[i].name, unit);
		json_object_set_new(o, key, json_real(v[at < cnt ? at : cnt - 1]));
	}
}

static int disk(const char *dir, unsigned writes)
{
	char path[4096];
	static uint8_t piece[WRITE_SZ];
	double *took = calloc(writes, sizeof(*took));
	json_t *j = json_object();
	int fd;

	snprintf(path, sizeof(path), "%s/vigil-bench-disk.tmp", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || took == NULL)
		die(path, strerror(errno));
	unlink(path);
	for (unsigned i = 0; i < writes; i++) {
		uint64_t begun = press_now_ns();

		memset(piece, (int)i, sizeof(piece));
		if (write(fd, piece, sizeof(piece)) != (ssize_t)sizeof(piece) || fdatasync(fd) != 0)
			die(path, strerror(errno));
		took[i] = (double)(press_now_ns() - begun) / 1e3;
	}
	close(fd);
	put_percentiles(j, "write_sync_", "us", took, writes);
	free(took);
	return print(j);
}

/* --- add ------------------------------------------------------------------------------------------------------ */

struct options {
	struct press_config press;
	uint64_t seed, first;
	uint32_t requests, users;
	bool registered;
	const char *trace;
	char host[64];
};

static void register_users(const struct options *o)
{
	struct press_config cfg = {.to = o->press.to, .connections = 8, .seconds_max = 120};
	struct request *req = calloc(o->users, sizeof(*req));
	struct press_result *res = calloc(o->users, sizeof(*res));

	for (uint32_t i = 0; req != NULL && i < o->users; i++)
		if (!request_register(&req[i], o->host, o->seed, i))
			die("register", "no request");
	if (req == NULL || res == NULL || !press(&cfg, req, o->users, res))
		die("register", strerror(errno));
	for (uint32_t i = 0; i < o->users; i++) {
		if (res[i].status != 200)
			die("register", res[i].body != NULL ? res[i].body : "no answer");
		free(req[i].text);
	}
	press_free(res, o->users);
	free(req);
	free(res);
}

struct tally {
	uint32_t accepted, unanswered, unavailable, refused, receipts;
	uint32_t retryable; /* of the unavailable: JSON with the code at which a current client tries again */
	bool has_tower_id;
	struct user_id tower_id;
	char first_refusal[256];
};

/* The receipt proves that the tower took it: same key for all. */
static void check_receipt(struct tally *t, const struct request *q, const struct press_result *r)
{
	json_t *j = json_loads(r->body, 0, NULL);
	const char *sig = json_string_value(json_object_get(j, "signature"));
	uint8_t msg[RECEIPT_APPOINTMENT_MAX];
	struct user_id id;
	size_t sz = receipt_appointment(msg, CLIENT_CURRENT, q->sig, SIG_ZB_SZ,
					(uint32_t)json_integer_value(json_object_get(j, "start_block")));

	if (sig != NULL && sig_recover(&id, sig, strlen(sig), msg, sz)) {
		if (!t->has_tower_id)
			t->tower_id = id;
		t->has_tower_id = true;
		t->receipts += memcmp(&id, &t->tower_id, sizeof(id)) == 0;
	}
	json_decref(j);
}

static void check_unavailable(struct tally *t, const struct press_result *r)
{
	json_t *j = json_loads(r->body, 0, NULL);

	t->retryable += json_integer_value(json_object_get(j, "error_code")) == 7 &&
			json_is_string(json_object_get(j, "error"));
	json_decref(j);
}

static void count(struct tally *t, const struct request *q, const struct press_result *r)
{
	if (r->status == 200) {
		t->accepted++;
		check_receipt(t, q, r);
		return;
	}
	if (r->status == 503) {
		t->unavailable++;
		check_unavailable(t, r);
	} else if (r->status == 0) {
		t->unanswered++;
	} else {
		t->refused++;
	}
	if (t->first_refusal[0] == '\0')
		snprintf(t->first_refusal, sizeof(t->first_refusal), "%u %s", r->status,
			 r->body != NULL ? r->body : "no answer");
}

static void put_latencies(json_t *j, const char *prefix, const struct press_result *r, uint32_t cnt,
			  uint16_t status)
{
	double *us = calloc(cnt, sizeof(*us));
	uint32_t n = 0;

	if (us == NULL)
		die("latencies", "out of memory");
	for (uint32_t i = 0; i < cnt; i++)
		if (r[i].status == status)
			us[n++] = (double)(r[i].done_ns - r[i].due_ns) / 1e3;
	put_percentiles(j, prefix, "us", us, n);
	free(us);
}

static void write_trace(const char *path, const struct press_result *r, uint32_t cnt)
{
	FILE *f = fopen(path, "w");

	if (f == NULL)
		die(path, strerror(errno));
	for (uint32_t i = 0; i < cnt; i++)
		fprintf(f, "%llu %llu %u\n", (unsigned long long)r[i].due_ns, (unsigned long long)r[i].done_ns,
			(unsigned)r[i].status);
	fclose(f);
}

static int report(const struct options *o, const struct request *q, const struct press_result *r,
		  double seconds, double cpu_seconds)
{
	struct tally t = {.accepted = 0};
	json_t *j;

	for (uint32_t i = 0; i < o->requests; i++)
		count(&t, &q[i], &r[i]);
	j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:s}", "requests",
		      (json_int_t)o->requests, "connections", (json_int_t)o->press.connections, "accepted",
		      (json_int_t)t.accepted, "receipts", (json_int_t)t.receipts, "unavailable",
		      (json_int_t)t.unavailable, "retryable", (json_int_t)t.retryable, "refused",
		      (json_int_t)t.refused, "unanswered", (json_int_t)t.unanswered, "seconds", seconds,
		      "accepted_s", t.accepted / seconds, "own_cpu_seconds", cpu_seconds, "first_refusal",
		      t.first_refusal);
	put_latencies(j, "", r, o->requests, 200);
	put_latencies(j, "unavailable_", r, o->requests, 503);
	if (o->trace != NULL)
		write_trace(o->trace, r, o->requests);
	return print(j);
}

static int add(const struct options *o)
{
	struct request *req = calloc(o->requests, sizeof(*req));
	struct press_result *res = calloc(o->requests, sizeof(*res));
	uint64_t begun, ended = 0;
	double cpu;
	int rc;

	if (req == NULL || res == NULL)
		die("add", "out of memory");
	for (uint32_t i = 0; i < o->requests; i++)
		if (!request_add(&req[i], o->host, o->seed, i % o->users, o->first + i))
			die("add", "no request");
	if (!o->registered)
		register_users(o);
	/* Tells whoever listens that everything is ready. */
	fprintf(stderr, "begin\n");
	begun = press_now_ns();
	cpu = measure_cpu_ns();
	if (!press(&o->press, req, o->requests, res))
		die("add", strerror(errno));
	cpu = measure_cpu_ns() - cpu;
	for (uint32_t i = 0; i < o->requests; i++)
		ended = res[i].done_ns > ended ? res[i].done_ns : ended;
	rc = report(o, req, res, ended > begun ? (double)(ended - begun) / 1e9 : 0, cpu / 1e9);
	for (uint32_t i = 0; i < o->requests; i++)
		free(req[i].text);
	press_free(res, o->requests);
	free(req);
	free(res);
	return rc;
}

static const char add_help[] =
	"usage: vigil-bench-api add --port N [options]\n"
	"\n"
	"  --port N             the tower's, on 127.0.0.1\n"
	"  --requests N         appointments to add (default 10000)\n"
	"  --connections N      used at once (default 64)\n"
	"  --rate R             requests a second; 0: as fast as answers come in (default)\n"
	"  --fresh              a new connection for each request\n"
	"  --users N            appointments are theirs in turn (default 4)\n"
	"  --registered         the users are registered already\n"
	"  --seed N, --first N  which appointments (default 1, 0)\n"
	"  --seconds S          what is not answered by then has failed (default 120)\n"
	"  --trace FILE         a line for each request: due and answered in ns of the monotonic clock, "
	"status\n";

static int add_main(int argc, char **argv)
{
	static const struct option longs[] = {{"port", 1, NULL, 'p'},
					      {"requests", 1, NULL, 'n'},
					      {"connections", 1, NULL, 'c'},
					      {"rate", 1, NULL, 'r'},
					      {"fresh", 0, NULL, 'f'},
					      {"users", 1, NULL, 'u'},
					      {"registered", 0, NULL, 'g'},
					      {"seed", 1, NULL, 's'},
					      {"first", 1, NULL, 'i'},
					      {"seconds", 1, NULL, 't'},
					      {"trace", 1, NULL, 'o'},
					      {"help", 0, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	struct options o = {
		.press = {.connections = 64, .seconds_max = 120}, .seed = 1, .requests = 10000, .users = 4};
	unsigned port = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			port = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'n':
			o.requests = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			o.press.connections = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			o.press.rate = strtod(optarg, NULL);
			break;
		case 'f':
			o.press.fresh = true;
			break;
		case 'u':
			o.users = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'g':
			o.registered = true;
			break;
		case 's':
			o.seed = strtoull(optarg, NULL, 10);
			break;
		case 'i':
			o.first = strtoull(optarg, NULL, 10);
			break;
		case 't':
			o.press.seconds_max = strtod(optarg, NULL);
			break;
		case 'o':
			o.trace = optarg;
			break;
		default:
			fputs(add_help, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (port == 0 || port > 65535 || o.requests == 0 || o.users == 0 || o.press.connections == 0 ||
	    o.press.connections > PRESS_CONNECTIONS_MAX) {
		fputs(add_help, stderr);
		return 2;
	}
	o.press.to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	o.press.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	snprintf(o.host, sizeof(o.host), "127.0.0.1:%u", port);
	return add(&o);
}

static void raise_descriptor_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 2 ? (unsigned)strtoul(argv[argc - 1], NULL, 10) : 0;

	raise_descriptor_limit();
	if (argc > 1 && strcmp(argv[1], "add") == 0)
		return add_main(argc - 1, argv + 1);
	if (argc == 3 && strcmp(argv[1], "crypto") == 0 && n > 0 && n <= MEASURE_ROUNDS_MAX)
		return crypto(n);
	if (argc == 4 && strcmp(argv[1], "disk") == 0 && n > 0)
		return disk(argv[2], n);
	if (argc == 3 && strcmp(argv[1], "stub") == 0)
		return stub_run(argv[2]);
	fprintf(stderr, "usage: vigil-bench-api crypto ROUNDS | disk DIR WRITES | stub SOCKET | add --help\n");
	return 2;
}
