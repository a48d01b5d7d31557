/* headers.c - the header tree under any sequence of batches and marks, on every network's rules, against a slow tree
   that keeps everything in a list and walks.

   Input: three bytes that choose network, root and least work, then records of seven bytes (kind, parent, count, time step,
   salt, fault, place of the fault).  Each makes a batch that is mined on targets anybody can mine, or marks a header, or
   tells a chain of more than one full batch twice (presync).  Fault 7 takes the 80 bytes of a header from the input
   as they are.  Verdicts and what gets in must be the slow tree's, header for header. */
#include <assert.h>
#include <stdlib.h>

#include "btc/bytes.h"
#include "chain/headers.h"
#include "chain/presync.h"
#include "chain/rules.h"

#define NODE_MAX  9000u
#define RAW_MAX   4100u
#define BATCH_MAX 40u
#define LONG_MAX  1u /* presyncs of one input: thousands of headers to mine */

struct slow_node {
	struct hash256 hash;
	uint32_t parent, height, time, bits;
	uint64_t work;
	bool known, invalid, aside; /* known: its header is; the marks: of itself or one above */
};
static struct slow_node list[NODE_MAX];
static uint32_t list_cnt;
static struct network net;
static struct headers *h;
static uint64_t least;
static int64_t now_s;
static uint8_t raw[RAW_MAX * HEADER_SZ];

/* ---- the slow tree ---- */

/* Those with the same first two bytes hang together: this much quickness is what lets chains be long. */
static uint32_t first_of[65536], next_of[NODE_MAX];

static uint32_t slow_find(const struct hash256 *hash)
{
	uint32_t i = first_of[load_le16(hash->b)];

	while (i != HEADERS_NONE && !hash256_eq(&list[i].hash, hash))
		i = next_of[i];
	return i;
}

static void slow_put(const struct slow_node *n)
{
	uint32_t *first = &first_of[load_le16(n->hash.b)];

	assert(list_cnt < NODE_MAX);
	list[list_cnt] = *n;
	next_of[list_cnt] = *first;
	*first = list_cnt++;
}

static uint32_t slow_best(void)
{
	return slow_find(headers_hash(h, headers_best(h)));
}

static uint64_t slow_work(uint32_t bits)
{
	struct u256 t;

	assert(pow_target(&net, bits, &t));
	return pow_work(&t).l[0];
}

static bool is_easy_net(void)
{
	return net.id == NET_TESTNET3 || net.id == NET_TESTNET4 || net.id == NET_REGTEST;
}

static uint32_t slow_ancestor(uint32_t i, uint32_t height)
{
	if (height < list[0].height)
		return HEADERS_NONE;
	while (list[i].height > height)
		i = list[i].parent;
	return i;
}

/* Spec/bitcoin.md section 13.2; 0: nothing is known that would say. */
static bool slow_bits_ok(uint32_t parent, const struct header_fields *f)
{
	const struct slow_node *p = &list[parent];
	uint32_t height = p->height + 1, i = parent, first;

	if (net.id == NET_REGTEST)
		return f->bits == (p->known ? p->bits : net.pow_limit_bits);
	if (height % 2016 == 0) {
		first = slow_ancestor(parent, height - 2016);
		if (first != HEADERS_NONE && list[first].known)
			return f->bits == rules_retarget(&net,
							 net.id == NET_TESTNET4 ? list[first].bits : p->bits,
							 (int64_t)p->time - list[first].time);
		return !p->known || rules_permitted(&net, height, p->bits, f->bits);
	}
	if (!p->known)
		return true;
	if (!is_easy_net())
		return f->bits == p->bits;
	if ((int64_t)f->time > (int64_t)p->time + 1200)
		return f->bits == net.pow_limit_bits;
	while (list[i].known && list[i].height % 2016 != 0 && list[i].bits == net.pow_limit_bits) {
		if (i == 0)
			return true;
		i = list[i].parent;
	}
	return !list[i].known || f->bits == list[i].bits;
}

static bool slow_time_ok(uint32_t parent, uint32_t time)
{
	uint32_t t[11], n = 0, at_or_below = 0;

	if (net.id == NET_TESTNET4 && list[parent].known && (list[parent].height + 1) % 2016 == 0 &&
	    (int64_t)time < (int64_t)list[parent].time - 600)
		return false;
	for (uint32_t i = parent; n < 11 && list[i].known; i = list[i].parent) {
		t[n++] = list[i].time;
		if (i == 0)
			break;
	}
	if (n < 11 && n < list[parent].height + 1)
		return true;
	/* Greater than the element n/2 of the ascending list: more than n/2 of them are below. */
	for (uint32_t k = 0; k < n; k++)
		at_or_below += t[k] < time;
	return at_or_below > n / 2;
}

static bool slow_version_ok(uint32_t height, int32_t version)
{
	return !((version < 2 && height >= net.bip34_height) || (version < 3 && height >= net.bip66_height) ||
		 (version < 4 && height >= net.bip65_height));
}

static enum headers_verdict slow_check(uint32_t parent, const struct header_fields *f)
{
	if (list[parent].invalid)
		return HEADERS_INVALID;
	if (!slow_bits_ok(parent, f))
		return HEADERS_BAD_BITS;
	if (!slow_version_ok(list[parent].height + 1, f->version))
		return HEADERS_BAD_VERSION;
	if (!slow_time_ok(parent, f->time))
		return HEADERS_TIME_OLD;
	return (int64_t)f->time > now_s + 7200 ? HEADERS_FUTURE : HEADERS_OK;
}

static uint64_t slow_threshold(void)
{
	uint32_t best = slow_best();
	uint64_t lag, need;

	if (!list[best].known)
		return least;
	lag = 144 * slow_work(list[best].bits);
	need = list[best].work > lag ? list[best].work - lag : 0;
	return need > least ? need : least;
}

static uint32_t fork_depth(uint32_t i)
{
	uint32_t best = slow_best();

	for (; slow_ancestor(best, list[i].height) != i; i = list[i].parent)
		;
	return list[best].height - list[i].height;
}

/* What headers_add must say of the batch, and how many it must add; the slow tree has them then. */
static enum headers_verdict slow_add(const uint8_t *r, uint32_t cnt, bool worthy, uint32_t *new_cnt)
{
	enum headers_verdict v = HEADERS_OK;
	uint32_t skip = 0, good = 0, parent;
	struct hash256 prev, hash;
	uint64_t claimed = 0;

	*new_cnt = 0;
	for (; good < cnt && v == HEADERS_OK; good++) {
		if (good > 0 && memcmp(r + good * HEADER_SZ + 4, hash.b, HASH_SZ) != 0) {
			v = HEADERS_NOT_A_CHAIN;
			break;
		}
		hash = header_hash(r + good * HEADER_SZ);
		if (skip == good && slow_find(&hash) != HEADERS_NONE) {
			skip++;
			continue;
		}
		if (!pow_valid(&net, &hash, load_le32(r + good * HEADER_SZ + 72))) {
			v = HEADERS_BAD_POW;
			break;
		}
		claimed += slow_work(load_le32(r + good * HEADER_SZ + 72));
	}
	if (good == skip)
		return v;
	memcpy(prev.b, r + skip * HEADER_SZ + 4, HASH_SZ);
	parent = slow_find(&prev);
	if (parent == HEADERS_NONE)
		return HEADERS_UNLINKED;
	if (!worthy && list[parent].work + claimed < slow_threshold())
		return fork_depth(parent) > HEADERS_FORK_MAX ? HEADERS_DEEP_FORK : HEADERS_LOW_WORK;
	for (uint32_t i = skip; i < good; i++) {
		struct header_fields f;
		enum headers_verdict one;

		header_decode(&f, r + i * HEADER_SZ);
		one = slow_check(parent, &f);
		if (one != HEADERS_OK)
			return one;
		slow_put(&(struct slow_node){.hash = header_hash(r + i * HEADER_SZ),
					     .parent = parent,
					     .height = list[parent].height + 1,
					     .time = f.time,
					     .bits = f.bits,
					     .work = list[parent].work + slow_work(f.bits),
					     .known = true,
					     .aside = list[parent].aside});
		parent = list_cnt - 1;
		++*new_cnt;
	}
	return v;
}

static void expect_best(const struct hash256 *was)
{
	uint32_t now = slow_best(), old = slow_find(was);
	uint64_t most = 0;

	for (uint32_t i = 0; i < list_cnt; i++)
		if (!list[i].invalid && !list[i].aside && list[i].work > most)
			most = list[i].work;
	assert(now != HEADERS_NONE && list[now].work == most && !list[now].invalid && !list[now].aside);
	if (list[old].work == most && !list[old].invalid && !list[old].aside)
		assert(old == now); /* equal work never switches */
	assert(headers_cnt(h) == list_cnt);
	assert(headers_has_min_work(h) == (most >= least));
}

/* ---- making headers ---- */

/* Mined where that is a matter of a few tries. */
static void seal(uint8_t *r, struct header_fields *f, struct hash256 *hash)
{
	for (unsigned tries = 0; tries < 200; tries++) {
		f->nonce++;
		header_encode(r, f);
		*hash = header_hash(r);
		if (hash->b[HASH_SZ - 1] < 0x80 && pow_valid(&net, hash, f->bits))
			return;
	}
}

/* The difficulty that the rules ask for, or the parent's where they leave it open. */
static uint32_t right_bits(uint32_t parent_slow, uint32_t prev_bits, uint32_t prev_time, uint32_t height,
			   uint32_t time, bool on_slow)
{
	uint32_t first;

	if (height % 2016 == 0 && on_slow && net.id != NET_REGTEST &&
	    (first = slow_ancestor(parent_slow, height - 2016)) != HEADERS_NONE && list[first].known)
		return rules_retarget(&net, net.id == NET_TESTNET4 ? list[first].bits : prev_bits,
				      (int64_t)prev_time - list[first].time);
	if (is_easy_net() && net.id != NET_REGTEST && height % 2016 != 0 &&
	    (int64_t)time > (int64_t)prev_time + 1200)
		return net.pow_limit_bits;
	return prev_bits;
}

static uint32_t time_step(uint8_t b)
{
	return b < 200 ? b % 8u : 200u * (b - 199u);
}

static void make_batch(const uint8_t *p, uint32_t parent, uint32_t cnt, const uint8_t *extra, size_t extra_sz)
{
	struct hash256 prev = list[parent].hash;
	uint32_t bits = list[parent].known ? list[parent].bits : net.pow_limit_bits, time = list[parent].time;

	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t height = list[parent].height + 1 + i, was = time;
		struct header_fields f = {.version = 4, .prev = prev};
		uint8_t *r = raw + (size_t)i * HEADER_SZ;
		bool here = i == p[6] % cnt;

		f.time = time = time + time_step(p[3]);
		f.bits = bits = right_bits(parent, bits, was, height, f.time, i == 0);
		f.merkle.b[0] = p[4];
		if (here && p[5] == 1)
			f.prev.b[5] ^= 1;
		if (here && p[5] == 2)
			f.time = 1;
		if (here && p[5] == 3)
			f.bits = p[4] % 2 ? net.pow_limit_bits : 0x207ffffe;
		if (here && p[5] == 5)
			f.version = p[4] % 5;
		if (here && p[5] == 6)
			f.time = time + 100000;
		seal(r, &f, &prev);
		if (here && p[5] == 4)
			r[75] = 0xff;
		if (here && p[5] == 7 && extra_sz >= HEADER_SZ)
			memcpy(r, extra, HEADER_SZ);
	}
}

/* ---- records ---- */

static void batch(const uint8_t *p, uint32_t parent, const uint8_t *extra, size_t extra_sz)
{
	uint32_t cnt = 1 + p[2] % BATCH_MAX, last, new_cnt, want_cnt;
	enum headers_verdict v, want;

	make_batch(p, parent, cnt, extra, extra_sz);
	want = slow_add(raw, cnt, false, &want_cnt);
	v = headers_add(h, raw, HEADER_SZ, cnt, now_s, &last, &new_cnt);
	assert(v == want && new_cnt == want_cnt);
	if (last != HEADERS_NONE)
		assert(slow_find(headers_hash(h, last)) != HEADERS_NONE);
}

/* A chain of more than a full batch, told twice; the second time with another salt for fault 1. */
static void long_chain(const uint8_t *p, uint32_t parent)
{
	uint8_t plain[7] = {p[0], p[1], p[2], p[3] % 8, p[4], 0, 0};
	uint32_t cnt = HEADERS_BATCH_MAX + 8 * (p[2] % 250u), before = list_cnt, last, new_cnt, want_cnt;
	uint32_t known = 0;
	struct presync *ps;
	struct hash256 hash;
	enum headers_verdict v;

	if (list[parent].invalid || list_cnt + cnt > NODE_MAX)
		return;
	make_batch(plain, parent, cnt, NULL, 0);
	ps = presync_new(h, raw, HEADER_SZ, HEADERS_BATCH_MAX);
	if (ps == NULL)
		return;
	v = presync_add(ps, h, raw, HEADER_SZ, HEADERS_BATCH_MAX, now_s, &last, &new_cnt);
	if (presync_state(ps) == PRESYNC_MEASURING && cnt > HEADERS_BATCH_MAX)
		v = presync_add(ps, h, raw + HEADERS_BATCH_MAX * HEADER_SZ, HEADER_SZ, cnt - HEADERS_BATCH_MAX,
				now_s, &last, &new_cnt);
	assert(headers_cnt(h) == before); /* measuring stores nothing */
	while (known < cnt &&
	       (hash = header_hash(raw + (size_t)known * HEADER_SZ), slow_find(&hash) != HEADERS_NONE))
		known++;
	if (presync_state(ps) == PRESYNC_STORING && p[5] == 1) {
		plain[4]++;
		make_batch(plain, parent, cnt, NULL, 0);
	}
	/* Asked for from what is known on, in the same pieces. */
	for (uint32_t at = known, end; presync_state(ps) == PRESYNC_STORING && at < cnt; at = end) {
		uint32_t part;

		end = at < HEADERS_BATCH_MAX && cnt > HEADERS_BATCH_MAX ? HEADERS_BATCH_MAX : cnt;
		part = end - at;
		assert(presync_is_next(ps, h, raw + (size_t)at * HEADER_SZ));
		v = presync_add(ps, h, raw + (size_t)at * HEADER_SZ, HEADER_SZ, part, now_s, &last, &new_cnt);
		if (presync_state(ps) == PRESYNC_CHANGED) {
			assert(p[5] == 1 && new_cnt == 0);
			break;
		}
		assert(slow_add(raw + (size_t)at * HEADER_SZ, part, true, &want_cnt) == v &&
		       want_cnt == new_cnt);
	}
	assert(presync_state(ps) != PRESYNC_MEASURING || cnt == HEADERS_BATCH_MAX);
	if (v == HEADERS_LOW_WORK)
		assert(list_cnt == before);
	presync_free(ps, h);
}

static bool is_below(uint32_t a, uint32_t i)
{
	return list[i].height >= list[a].height && slow_ancestor(i, list[a].height) == a;
}

static void mark(const uint8_t *p, uint32_t i)
{
	uint32_t idx = headers_find(h, &list[i].hash);

	if (i == 0)
		return;
	if (p[2] % 3 == 0)
		headers_mark_invalid(h, idx);
	else if (p[2] % 3 == 1)
		headers_set_aside(h, idx);
	else if (list[list[i].parent].aside)
		return; /* stays aside for its parent's sake; nobody asks for that */
	else
		headers_take_back(h, idx);
	for (uint32_t k = 0; k < list_cnt; k++)
		if (is_below(i, k)) {
			list[k].invalid |= p[2] % 3 == 0;
			list[k].aside = p[2] % 3 == 1 || (list[k].aside && p[2] % 3 != 2);
		}
}

/* ---- one input ---- */

static void begin(const uint8_t *p)
{
	static uint8_t header[HEADER_SZ];
	struct header_fields g;
	struct headers_root root = {.height = 2016u * (1 + p[1] / 4 % 4) - p[1] / 16};
	bool anchored = p[1] % 2, has_header = p[1] / 2 % 2;

	net = *network_get(NET_REGTEST);
	net.id = (enum network_id)(p[0] % NETWORK_CNT);
	if (p[0] / NETWORK_CNT % 2 == 0)
		net.bip34_height = net.bip66_height = net.bip65_height = 10;
	least = 2 * (uint64_t)p[2] * (p[0] % 7 == 6 ? 20 : 1);
	header_decode(&g, net.genesis_header);
	if (anchored) {
		root.hash = net.genesis_hash;
		root.header = has_header ? header : NULL;
		memcpy(header, net.genesis_header, HEADER_SZ);
	}
	net.min_chain_work = (struct u256){{anchored ? 0 : least}};
	h = headers_new(&net, anchored ? &root : NULL, 12345, 0);
	if (anchored)
		headers_set_min_work(h, &(struct u256){{least}});
	list_cnt = 0;
	memset(first_of, 0xff, sizeof(first_of));
	slow_put(&(struct slow_node){.hash = net.genesis_hash,
				     .height = anchored ? root.height : 0,
				     .time = !anchored || has_header ? g.time : 0,
				     .bits = g.bits,
				     .work = anchored ? 0 : 2,
				     .known = !anchored || has_header});
	now_s = (int64_t)g.time + 1000000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	struct hash256 locator[HEADERS_LOCATOR_MAX];
	unsigned long_cnt = 0;

	if (sz < 3)
		return 0;
	begin(data);
	for (data += 3, sz -= 3; sz >= 7 && list_cnt + BATCH_MAX < NODE_MAX;) {
		const uint8_t *p = data;
		uint32_t parent = list_cnt - 1 - p[1] % (list_cnt < 200 ? list_cnt : 200);
		struct hash256 was = *headers_hash(h, headers_best(h));

		data += 7;
		sz -= 7;
		if (p[0] >= 254 && long_cnt++ < LONG_MAX)
			long_chain(p, parent);
		else if (p[0] >= 230 && p[0] < 254)
			mark(p, parent);
		else
			batch(p, parent, data, sz);
		if (p[0] < 230 && p[5] == 7 && sz >= HEADER_SZ) {
			data += HEADER_SZ;
			sz -= HEADER_SZ;
		}
		expect_best(&was);
	}
	for (uint32_t i = slow_best();; i = list[i].parent) {
		assert(hash256_eq(headers_hash(h, headers_at(h, list[i].height)), &list[i].hash));
		if (i == 0)
			break;
	}
	assert(headers_locator(h, headers_best(h), locator) <= HEADERS_LOCATOR_MAX);
	headers_free(h);
	return 0;
}
