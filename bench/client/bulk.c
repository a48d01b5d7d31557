#include "client/bulk.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "synth/rng.h"
#include "teos/blob.h"

enum { STREAM_DECOY = 0xdec0 };

struct shared {
	const struct bulk_config *cfg;
	_Atomic uint32_t next;
	_Atomic bool stop; /* a worker could not go on */
	pthread_mutex_t log_lock;
	FILE *log;
};

struct worker {
	struct shared *shared;
	struct api *api;
	pthread_t thread;
	uint8_t *plain, *blob;
	uint64_t *took; /* of accepted ones */
	uint32_t took_cnt;
	struct bulk_result res;
};

static uint32_t total_of(const struct bulk_config *c)
{
	return c->planted_cnt + c->decoys;
}

/* Makes appointment i: locator, and blob in w->blob; returns the blob's size. */
static size_t make(struct worker *w, uint32_t i, struct hash256 *dispute, struct locator *l)
{
	const struct bulk_config *c = w->shared->cfg;
	const uint8_t *plain = w->plain;
	struct blob_key key;
	size_t sz;

	if (i < c->planted_cnt) {
		*dispute = c->planted[i].dispute_txid;
		plain = c->planted[i].penalty;
		sz = c->planted[i].penalty_sz;
	} else {
		struct rng r = rng_stream(c->seed, STREAM_DECOY, i - c->planted_cnt);

		rng_fill(&r, dispute->b, HASH_SZ);
		sz = c->decoy_sz ? c->decoy_sz : rng_between(&r, 200, 400);
		rng_fill(&r, w->plain, sz);
	}
	*l = locator_of_txid(dispute, c->api.scheme);
	key = blob_key_of_txid(dispute, c->api.scheme);
	blob_seal(w->blob, plain, sz, &key);
	return sz + BLOB_TAG_SZ;
}

static void write_log(struct shared *s, const struct hash256 *dispute, const struct locator *l,
		      const struct api_result *r)
{
	char txid[HASH_HEX_SZ], locator[2 * LOCATOR_SZ + 1];

	if (!s->log)
		return;
	hash256_to_display(txid, dispute);
	hex_encode(locator, l->b, LOCATOR_SZ);
	pthread_mutex_lock(&s->log_lock);
	fprintf(s->log,
		"{\"dispute_txid\": \"%s\", \"locator\": \"%s\", \"outcome\": \"%s\", \"status\": "
		"%ld, "
		"\"error_code\": %lld, \"start_block\": %u, \"took_us\": %llu}\n",
		txid, locator, api_outcome_name(r->outcome), r->status, (long long)r->code, r->start_block,
		(unsigned long long)(r->took_ns / 1000));
	pthread_mutex_unlock(&s->log_lock);
}

static void count(struct worker *w, const struct api_result *r)
{
	struct bulk_result *b = &w->res;

	b->outcome[r->outcome]++;
	if (r->outcome != API_OK) {
		if (b->first_why[0] == '\0')
			snprintf(b->first_why, sizeof(b->first_why), "%s, HTTP %ld, code %lld: %s",
				 api_outcome_name(r->outcome), r->status, (long long)r->code, r->why);
		return;
	}
	w->took[w->took_cnt++] = r->took_ns;
	b->has_tower_id = true;
	b->tower_id = r->tower_id;
	if (r->start_block < b->start_block_min)
		b->start_block_min = r->start_block;
	if (r->start_block > b->start_block_max)
		b->start_block_max = r->start_block;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->shared;
	uint32_t i, room = 0;

	while (!s->stop && (i = atomic_fetch_add(&s->next, 1)) < total_of(s->cfg)) {
		struct hash256 dispute;
		struct locator l;
		struct api_result r;
		size_t sz = make(w, i, &dispute, &l);

		if (w->took_cnt == room) {
			uint64_t *took = realloc(w->took, (2 * (size_t)room + 1024) * sizeof(*took));

			if (!took) {
				s->stop = true;
				break;
			}
			w->took = took;
			room = 2 * room + 1024;
		}
		api_add(w->api, &l, w->blob, sz, &r);
		count(w, &r);
		write_log(s, &dispute, &l, &r);
		api_result_free(&r);
	}
	return NULL;
}

static int u64_cmp(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;

	return a < b ? -1 : a > b;
}

/* The value that pct per cent of the sorted list do not exceed. */
static uint64_t percentile(const uint64_t *v, size_t cnt, unsigned pct)
{
	size_t rank = (cnt * pct + 99) / 100;

	return v[rank ? rank - 1 : 0];
}

static bool sum_up(struct bulk_result *out, const struct worker *w, uint32_t workers)
{
	size_t cnt = 0, at = 0;
	uint64_t *all;
	double sum = 0;

	for (uint32_t i = 0; i < workers; i++) {
		const struct bulk_result *b = &w[i].res;

		cnt += w[i].took_cnt;
		for (unsigned k = 0; k < API_OUTCOME_CNT; k++)
			out->outcome[k] += b->outcome[k];
		if (out->first_why[0] == '\0')
			strcpy(out->first_why, b->first_why);
		if (!b->has_tower_id)
			continue;
		if (out->has_tower_id && memcmp(out->tower_id.b, b->tower_id.b, USER_ID_SZ) != 0) {
			out->outcome[API_BAD_RECEIPT]++;
			snprintf(out->first_why, sizeof(out->first_why), "receipts by two different keys");
		}
		out->has_tower_id = true;
		out->tower_id = b->tower_id;
		if (b->start_block_min < out->start_block_min)
			out->start_block_min = b->start_block_min;
		if (b->start_block_max > out->start_block_max)
			out->start_block_max = b->start_block_max;
	}
	all = malloc((cnt + 1) * sizeof(*all));
	if (!all)
		return false;
	for (uint32_t i = 0; i < workers; i++) {
		if (w[i].took_cnt)
			memcpy(all + at, w[i].took, w[i].took_cnt * sizeof(*all));
		at += w[i].took_cnt;
	}
	if (cnt) {
		qsort(all, cnt, sizeof(*all), u64_cmp);
		for (size_t i = 0; i < cnt; i++)
			sum += (double)all[i];
		out->p50_ns = percentile(all, cnt, 50);
		out->p90_ns = percentile(all, cnt, 90);
		out->p99_ns = percentile(all, cnt, 99);
		out->max_ns = all[cnt - 1];
		out->mean_ns = sum / (double)cnt;
	}
	free(all);
	return true;
}

static size_t longest_penalty(const struct bulk_config *c)
{
	size_t sz = c->decoy_sz > 400 ? c->decoy_sz : 400;

	for (uint32_t i = 0; i < c->planted_cnt; i++)
		sz = c->planted[i].penalty_sz > sz ? c->planted[i].penalty_sz : sz;
	return sz;
}

int bulk_add(const struct bulk_config *cfg, struct bulk_result *out, char *why, size_t why_sz)
{
	struct shared s = {.cfg = cfg, .log_lock = PTHREAD_MUTEX_INITIALIZER};
	struct worker *w = calloc(cfg->connections, sizeof(*w));
	size_t room = longest_penalty(cfg) + BLOB_TAG_SZ;
	uint32_t started = 0;
	uint64_t start;
	int rc = -1;

	memset(out, 0, sizeof(*out));
	out->start_block_min = UINT32_MAX;
	snprintf(why, why_sz, "out of memory");
	if (!w)
		return -1;
	if (cfg->log) {
		s.log = fopen(cfg->log, "we");
		if (!s.log) {
			snprintf(why, why_sz, "%s: %s", cfg->log, strerror(errno));
			goto out;
		}
	}
	for (uint32_t i = 0; i < cfg->connections; i++) {
		w[i].shared = &s;
		w[i].res.start_block_min = UINT32_MAX;
		w[i].api = api_open(&cfg->api);
		w[i].plain = malloc(room);
		w[i].blob = malloc(room);
		if (!w[i].api || !w[i].plain || !w[i].blob)
			goto out;
	}
	start = client_now_ns();
	for (; started < cfg->connections; started++) {
		if (pthread_create(&w[started].thread, NULL, work, &w[started])) {
			s.stop = true;
			break;
		}
	}
	for (uint32_t i = 0; i < started; i++)
		pthread_join(w[i].thread, NULL);
	out->took_ns = client_now_ns() - start;
	rc = s.stop || !sum_up(out, w, cfg->connections) ? -1 : 0;
out:
	for (uint32_t i = 0; i < cfg->connections; i++) {
		api_close(w[i].api);
		free(w[i].plain);
		free(w[i].blob);
		free(w[i].took);
	}
	if (s.log && fclose(s.log) && rc == 0) {
		snprintf(why, why_sz, "%s: %s", cfg->log, strerror(errno));
		rc = -1;
	}
	free(w);
	return rc;
}
