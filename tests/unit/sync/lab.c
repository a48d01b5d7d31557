#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "btc/sha256.h"

uint32_t lab_rnd(struct lab *l)
{
	l->rnd ^= l->rnd << 13;
	l->rnd ^= l->rnd >> 17;
	l->rnd ^= l->rnd << 5;
	return l->rnd;
}

/* ---- the chain ---- */

/* Two coinbases that differ in a byte of their scripts. */
static size_t two_coinbases(uint8_t *out)
{
	static const uint8_t tx[64] = {
		1, 0, 0, 0, 1,    [37] = 0xff, 0xff, 0xff, 0xff, /* version, one input, null outpoint */
		3, 1, 2, 3, 0xff, 0xff,        0xff, 0xff,       /* script, sequence */
		1, 0, 0, 0, 0,    0,           0,    0,    0,    1, 0x51, /* an output */
	};

	out[0] = 2;
	memcpy(out + 1, tx, 64);
	memcpy(out + 65, tx, 64);
	out[65 + 43]++;
	return 129;
}

void lab_body(const struct lab_block *b, uint8_t *out)
{
	memcpy(out, b->header, HEADER_SZ);
	if (b->body == LAB_BODY_INVALID) {
		two_coinbases(out + HEADER_SZ);
		return;
	}
	for (uint32_t i = HEADER_SZ; i < b->sz; i++)
		out[i] = (uint8_t)(b->hash.b[i % 16] + i);
}

uint32_t lab_mine(struct lab *l, uint32_t parent, uint32_t cnt)
{
	const struct network *n = l->cfg.network;

	for (uint32_t i = 0; i < cnt; i++) {
		struct lab_block *b = &l->block[l->block_cnt];
		struct header_fields f, p;

		assert_true(l->block_cnt < LAB_BLOCK_MAX);
		header_decode(&p, l->block[parent].header);
		f = (struct header_fields){.version = 4,
					   .prev = l->block[parent].hash,
					   .time = p.time + 1,
					   .bits = n->pow_limit_bits};
		memcpy(f.merkle.b, &l->block_cnt, sizeof(l->block_cnt));
		do {
			f.nonce++;
			header_encode(b->header, &f);
			b->hash = header_hash(b->header);
		} while (!pow_valid(n, &b->hash, f.bits));
		b->parent = parent;
		b->height = l->block[parent].height + 1;
		b->sz = HEADER_SZ + 1 + lab_rnd(l) % 3000;
		parent = l->block_cnt++;
	}
	return parent;
}

uint32_t lab_mine_invalid(struct lab *l, uint32_t parent)
{
	uint32_t i = lab_mine(l, parent, 1);
	struct lab_block *b = &l->block[i];
	struct header_fields f;
	struct hash256 txid[2];
	uint8_t body[200];
	size_t sz = two_coinbases(body);

	txid[0] = sha256d(body + 1, 64);
	txid[1] = sha256d(body + 65, 64);
	header_decode(&f, b->header);
	f.merkle = sha256d(txid, sizeof(txid));
	do {
		f.nonce++;
		header_encode(b->header, &f);
		b->hash = header_hash(b->header);
	} while (!pow_valid(l->cfg.network, &b->hash, f.bits));
	b->sz = (uint32_t)(HEADER_SZ + sz);
	b->body = LAB_BODY_INVALID;
	return i;
}

uint32_t lab_ancestor(const struct lab *l, uint32_t block, uint32_t height)
{
	while (l->block[block].height > height)
		block = l->block[block].parent;
	return block;
}

uint32_t lab_find(const struct lab *l, const uint8_t *hash)
{
	for (uint32_t i = l->block_cnt; i-- > 0;)
		if (memcmp(l->block[i].hash.b, hash, HASH_SZ) == 0)
			return i;
	return UINT32_MAX;
}

/* ---- what sync asks of its caller ---- */

static uint32_t lab_sum(const uint8_t *p, uint32_t sz)
{
	uint32_t sum = 1;

	for (uint32_t i = 0; i < sz; i++)
		sum = sum * 31 + p[i];
	return sum;
}

static struct block_buf *op_buf_get(void *arg)
{
	struct lab *l = arg;

	for (uint32_t i = 0; i < l->buf_cnt; i++) {
		if (!l->buf_used[i]) {
			l->buf_used[i] = true;
			return &l->buf[i];
		}
	}
	return NULL;
}

static void op_buf_put(void *arg, struct block_buf *b)
{
	struct lab *l = arg;

	assert_true(l->buf_used[b->slot] && !l->buf_leaving[b->slot]);
	if (l->arriving_sz[b->slot] != 0 && l->present[b->slot] < l->arriving_sz[b->slot]) {
		/* The scan may need a moment to let go of it. */
		l->buf_leaving[b->slot] = true;
		l->broken_cnt++;
	} else {
		l->buf_used[b->slot] = false;
	}
	/* What was announced was there to stay. */
	if (l->present[b->slot] > HEADER_SZ)
		assert_int_equal(lab_sum(b->data, l->present[b->slot]), l->present_sum[b->slot]);
	l->arriving_sz[b->slot] = l->present[b->slot] = 0;
	memset(b->data, 0xdd, 4096); /* whoever still reads it finds nonsense */
}

/* What the scan sees of a block that is arriving. */
static void op_block_begins(void *arg, struct block_buf *b, uint32_t sz, uint32_t height)
{
	struct lab *l = arg;
	uint32_t i = lab_find(l, header_hash(b->data).b);

	assert_true(l->buf_used[b->slot] && l->arriving_sz[b->slot] == 0);
	assert_int_equal(l->block[i].height, height);
	assert_int_equal(l->block[i].sz, sz);
	l->arriving_sz[b->slot] = sz;
	l->present[b->slot] = HEADER_SZ;
	l->begun_cnt++;
}

static void op_block_grows(void *arg, struct block_buf *b, uint32_t present)
{
	struct lab *l = arg;

	assert_true(present >= l->present[b->slot] && present <= l->arriving_sz[b->slot]);
	l->present[b->slot] = present;
	l->present_sum[b->slot] = lab_sum(b->data, present);
}

static void op_peer_changed(void *arg, uint32_t peer_id)
{
	struct lab *l = arg;

	(void)peer_id;
	l->peer_news++;
}

static void op_result(void *arg, const struct sync_bcast_result *r)
{
	struct lab *l = arg;
	struct lab_result got = {
		.cookie = r->cookie, .status = r->status, .peer_cnt = r->peer_cnt, .peers = r->peers};

	assert_true(r->at_ns <= l->now_ns && l->result_cnt < 64);
	if (r->status == LINK_BCAST_NEWS) {
		l->news = got;
		l->news_cnt++;
	} else {
		l->result[l->result_cnt++] = got;
	}
}

static bool op_stale_news(void *arg, const struct sync_stale_news *n)
{
	struct lab *l = arg;

	if (l->news_refused)
		return false;
	if (n->kind == SYNC_STALE_END) {
		l->end_cnt++;
		l->end = *n;
		return true;
	}
	assert_int_equal(n->kind, SYNC_STALE_MISSING);
	l->missing_cnt++;
	return true;
}

static int64_t op_wall(void *arg)
{
	struct header_fields f;
	struct lab *l = arg;

	header_decode(&f, l->cfg.network->genesis_header);
	return (int64_t)f.time + LAB_BLOCK_MAX + l->wall_shift_s;
}

/* ---- the caller ---- */

static enum block_verdict verdict(const struct lab *l, const struct chain_event *ev)
{
	static uint8_t want[4096];
	uint32_t b = lab_find(l, ev->hash.b);

	assert_int_not_equal(b, UINT32_MAX);
	lab_body(&l->block[b], want);
	if (ev->buf->sz != l->block[b].sz || memcmp(ev->buf->data, want, ev->buf->sz) != 0)
		return BLOCK_BAD_MERKLE;
	return l->block[b].body == LAB_BODY_INVALID ? BLOCK_BAD_PARSE : BLOCK_GOOD;
}

static void apply(struct lab *l, const struct chain_event *ev)
{
	struct header_fields f;

	l->events++;
	header_decode(&f, ev->header);
	switch (ev->kind) {
	case CHAIN_START:
		assert_false(l->started);
		l->started = true;
		l->base_height = l->list_tip = ev->height;
		l->list[ev->height] = ev->hash;
		l->fill_seen = false;
		break;
	case CHAIN_FILL:
		assert_true(l->started && ev->height > 0 && ev->height <= l->base_height);
		assert_int_equal(l->connects + l->disconnects, 0);
		if (l->fill_seen)
			assert_int_equal(ev->height, l->fill_last + 1);
		else
			l->fill_first = ev->height;
		l->fill_seen = true;
		l->fill_last = ev->height;
		l->list[ev->height] = ev->hash;
		break;
	case CHAIN_CONNECT:
		assert_int_equal(ev->height, l->list_tip + 1);
		if (l->list_tip > 0)
			assert_memory_equal(f.prev.b, l->list[l->list_tip].b, HASH_SZ);
		l->list[++l->list_tip] = ev->hash;
		l->connects++;
		break;
	case CHAIN_STALE:
		assert_true(l->started);
		l->stale_height[l->stale_cnt % LAB_BLOCK_MAX] = ev->height;
		l->stale[l->stale_cnt++ % LAB_BLOCK_MAX] = ev->hash;
		break;
	case CHAIN_DISCONNECT:
		assert_int_equal(ev->height, l->list_tip);
		if (!hash256_is_zero(&l->list[l->list_tip]))
			assert_memory_equal(ev->hash.b, l->list[l->list_tip].b, HASH_SZ);
		l->list_tip--;
		/* Below a base nothing was reported; the disconnected header says what stood there. */
		l->list[l->list_tip] = f.prev;
		l->disconnects++;
		break;
	}
}

static void scan_one(struct lab *l)
{
	struct chain_event ev = l->pending[0];
	enum block_verdict v = BLOCK_GOOD;

	memmove(&l->pending[0], &l->pending[1], --l->pending_cnt * sizeof(ev));
	if (l->have_bad && ev.epoch == l->bad_epoch && ev.kind != CHAIN_STALE)
		v = BLOCK_CANCELLED;
	else if (ev.buf != NULL)
		v = verdict(l, &ev);
	if ((v == BLOCK_BAD_MERKLE || v == BLOCK_BAD_PARSE) && ev.kind == CHAIN_STALE) {
		l->bad_verdicts++;
	} else if (v == BLOCK_BAD_MERKLE || v == BLOCK_BAD_PARSE) {
		l->have_bad = true;
		l->bad_epoch = ev.epoch;
		l->bad_verdicts++;
	}
	if (v == BLOCK_GOOD)
		apply(l, &ev);
	if (ev.buf != NULL)
		sync_block_done(l->sync, &ev, v, l->now_ns);
}

void lab_turn(struct lab *l, uint64_t step_ns)
{
	struct chain_event ev;

	l->now_ns += step_ns;
	for (uint32_t i = 0; i < l->buf_cnt; i++) {
		l->buf_used[i] &= !l->buf_leaving[i];
		l->buf_leaving[i] = false;
	}
	for (uint32_t i = 0; i < l->node_cnt; i++) {
		lab_node_turn(&l->node[i]);
		lab_node_turn(&l->push[i]);
	}
	sync_tick(l->sync, l->now_ns);
	while (lab_rnd(l) % 8 != 0 && sync_next(l->sync, &ev)) {
		assert_true(l->pending_cnt < sizeof(l->pending) / sizeof(l->pending[0]));
		l->pending[l->pending_cnt++] = ev;
	}
	while (!l->scan_holds && l->pending_cnt > 0 && lab_rnd(l) % 8 != 0)
		scan_one(l);
}

void lab_run(struct lab *l, uint64_t time_ns, uint64_t step_ns)
{
	for (uint64_t end = l->now_ns + time_ns; l->now_ns < end;)
		lab_turn(l, step_ns);
}

bool lab_reach(struct lab *l, uint32_t block, uint64_t time_ns)
{
	uint64_t step = time_ns > 20 * LAB_S ? 50 * LAB_MS : LAB_MS;
	struct sync_chain_view v;

	for (uint64_t end = l->now_ns + time_ns; l->now_ns < end;) {
		lab_turn(l, step);
		sync_chain_view(l->sync, &v);
		if (l->started && l->pending_cnt == 0 && v.synced &&
		    hash256_eq(&l->list[l->list_tip], &l->block[block].hash) &&
		    l->list_tip == l->block[block].height)
			return true;
	}
	return false;
}

void lab_check_list(struct lab *l, uint32_t block)
{
	uint32_t low = l->fill_seen ? l->fill_first : l->base_height + 1;

	assert_int_equal(l->list_tip, l->block[block].height);
	for (uint32_t h = l->list_tip; h >= low && h > 0; h--) {
		assert_memory_equal(l->list[h].b, l->block[block].hash.b, HASH_SZ);
		block = l->block[block].parent;
	}
}

struct counter_query {
	const char *name;
	uint64_t value;
	bool found;
};

static void on_counter(void *arg, const char *name, uint64_t value)
{
	struct counter_query *q = arg;

	if (strcmp(name, q->name) == 0) {
		q->found = true;
		q->value = value;
	}
}

uint64_t lab_counter(struct lab *l, const char *name)
{
	struct counter_query q = {.name = name};

	sync_each_counter(l->sync, on_counter, &q);
	assert_true(q.found);
	return q.value;
}

uint32_t lab_bufs_used(const struct lab *l)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < l->buf_cnt; i++)
		cnt += l->buf_used[i] && !l->buf_leaving[i];
	return cnt;
}

/* ---- life ---- */

/* Mapped, and so untouched until a block needs it: malloc may fill what it gives out. */
static uint8_t *map_buf(void)
{
	void *p = mmap(NULL, BLOCK_SZ_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static struct lab *lab_new_with(uint32_t node_cnt, uint32_t seed, uint64_t min_work, uint32_t ban_s)
{
	static const struct sync_ops ops = {
		.dial = lab_dial,
		.send_room = lab_send_room,
		.send = lab_take,
		.hang_up = lab_hang_up,
		.buf_get = op_buf_get,
		.buf_put = op_buf_put,
		.block_begins = op_block_begins,
		.block_grows = op_block_grows,
		.peer_changed = op_peer_changed,
		.broadcast_result = op_result,
		.stale_news = op_stale_news,
	};
	struct lab *l = calloc(1, sizeof(*l));

	l->rnd = seed * 2654435761u + 1;
	l->now_ns = 1000 * LAB_S;
	l->cut_max = 3000;
	l->cfg = (struct sync_config){.network = network_get(NET_REGTEST),
				      .recent_blocks = 6,
				      .inflight_per_peer = 16,
				      .nonce_seed = seed,
				      .ban_s = ban_s,
				      .wall_time = op_wall};
	l->min_work.l[0] = min_work;
	if (min_work != 0)
		l->cfg.min_chain_work = &l->min_work;
	l->block = calloc(LAB_BLOCK_MAX, sizeof(*l->block));
	memcpy(l->block[0].header, l->cfg.network->genesis_header, HEADER_SZ);
	l->block[0].hash = l->cfg.network->genesis_hash;
	l->block[0].sz = HEADER_SZ + 200;
	l->block_cnt = 1;
	l->buf_cnt = 24;
	for (uint32_t i = 0; i < LAB_BUF_MAX; i++)
		l->buf[i] = (struct block_buf){.data = map_buf(), .slot = i};
	l->sync = sync_new(&l->cfg, &ops, l);
	for (uint32_t i = 0; i < node_cnt; i++) {
		struct net_addr a = {.ip = {[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)i},
				     .port = (uint16_t)(18444 + i)};

		l->node[i] = (struct lab_node){.lab = l,
					       .conn_id = sync_conn_id(i, SYNC_BLOCKS),
					       .services = P2P_SERVICE_NETWORK | P2P_SERVICE_WITNESS,
					       .version = P2P_PROTOCOL};
		l->push[i] = l->node[i];
		l->push[i].conn_id = sync_conn_id(i, SYNC_PUSH);
		assert_int_equal(sync_add_peer(l->sync, &a), i);
	}
	l->node_cnt = node_cnt;
	return l;
}

struct lab *lab_new(uint32_t node_cnt, uint32_t seed)
{
	return lab_new_with(node_cnt, seed, 0, 60);
}

struct lab *lab_new_needing(uint32_t node_cnt, uint32_t seed, uint64_t min_work)
{
	return lab_new_with(node_cnt, seed, min_work, 60);
}

struct lab *lab_new_ban(uint32_t node_cnt, uint32_t seed, uint32_t ban_s)
{
	return lab_new_with(node_cnt, seed, 0, ban_s);
}

void lab_free(struct lab *l)
{
	sync_session_stop(l->sync);
	l->scan_holds = false;
	while (l->pending_cnt > 0) {
		struct chain_event ev = l->pending[0];

		memmove(&l->pending[0], &l->pending[1], --l->pending_cnt * sizeof(ev));
		if (ev.buf != NULL)
			sync_block_done(l->sync, &ev, BLOCK_GOOD, l->now_ns);
	}
	assert_int_equal(lab_bufs_used(l), 0);
	sync_free(l->sync);
	for (uint32_t i = 0; i < l->node_cnt; i++) {
		p2p_stream_free(&l->node[i].in);
		p2p_stream_free(&l->push[i].in);
		free(l->node[i].out);
		free(l->push[i].out);
	}
	for (uint32_t i = 0; i < LAB_BUF_MAX; i++)
		munmap(l->buf[i].data, BLOCK_SZ_MAX);
	free(l->block);
	free(l);
}

void lab_start(struct lab *l)
{
	struct sync_start st = {.resume = false};

	assert_int_equal(sync_session_start(l->sync, &st, l->now_ns), 0);
}

void lab_resume(struct lab *l, uint32_t block, uint32_t header_cnt)
{
	uint8_t *raw = malloc((size_t)header_cnt * HEADER_SZ + 1);
	uint32_t b = block;
	struct sync_start st = {.resume = true, .headers = raw, .header_cnt = header_cnt};

	for (uint32_t i = header_cnt; i-- > 0; b = l->block[b].parent)
		memcpy(raw + (size_t)i * HEADER_SZ, l->block[b].header, HEADER_SZ);
	st.root_hash = l->block[b].hash;
	st.root_height = l->block[b].height;
	assert_int_equal(sync_session_start(l->sync, &st, l->now_ns), 0);
	free(raw);
}
