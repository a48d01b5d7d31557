/* A random life of the pipeline on real threads: a net lcore whose blocks arrive in pieces, several at a time, some of
   which break off, are bad, are handed over whole or are taken back; a main lcore that adds, evicts and acknowledges;
   and any number of scan lcores.  Against it stands what must hold whatever the timing:

     - events come out in the order in which they went in;
     - each locator is reported once for every time its block was connected, by the block's hits or by its answer,
       and on that side of the block which agrees with its place in the output;
     - no more blocks are out than the window allows. */
#include "lab.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define HEIGHTS   24u  /* of each life */
#define TX_CNT    150u /* at most, in a block */
#define WINDOW    4u
#define AHEAD     5u /* blocks that arrive at a time */
#define EVENT_MAX 4096u
#define VARIANTS  2u /* blocks of each height */

struct life {
	struct scan *s;
	unsigned workers;
	uint64_t rng;
	atomic_bool quit;
	struct lab_block block[HEIGHTS][VARIANTS];

	/* What went in, written by net before it is submitted. */
	struct scan_event in[EVENT_MAX];
	enum block_verdict want[EVENT_MAX];
	atomic_uint in_cnt;
	atomic_bool net_over;

	/* Buffers that main gives back. */
	struct block_buf *back[EVENT_MAX];
	atomic_uint back_cnt;
	unsigned back_taken;
};

static uint32_t life_rnd(uint64_t *rng, uint32_t below)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return (uint32_t)(*rng >> 33) % below;
}

static void *scan_lcore(void *arg)
{
	struct {
		struct life *l;
		unsigned idx;
	} *a = arg;
	unsigned idle = 0;

	while (!atomic_load_explicit(&a->l->quit, memory_order_relaxed))
		lab_rest(scan_worker_poll(a->l->s, a->idx), &idle);
	return NULL;
}

/* --- net --------------------------------------------------------------------------------------------------- */

struct net {
	struct life *l;
	uint64_t rng;
	struct {
		struct block_buf *buf; /* NULL: does not arrive */
		uint32_t present;
		bool whole; /* nobody is told of it */
	} at[HEIGHTS];
	uint8_t variant[HEIGHTS]; /* of the chain to come */
	struct block_buf *leaving[64];
	unsigned leaving_cnt;
	uint32_t next; /* height to hand out */
	uint32_t epoch;
};

static void net_tidy(struct net *n)
{
	struct life *l = n->l;
	unsigned cnt = atomic_load_explicit(&l->back_cnt, memory_order_acquire);

	for (; l->back_taken < cnt; l->back_taken++)
		block_pool_put(lab_pool, l->back[l->back_taken]);
	for (unsigned i = 0; i < n->leaving_cnt;) {
		if (scan_arrive_stop(l->s, n->leaving[i])) {
			/* Nobody reads it any more: TSan would see. */
			memset(n->leaving[i]->data, 0xbb, 20000);
			block_pool_put(lab_pool, n->leaving[i]);
			n->leaving[i] = n->leaving[--n->leaving_cnt];
		} else {
			i++;
		}
	}
}

static void net_begin(struct net *n, uint32_t h)
{
	const struct lab_block *b = &n->l->block[h][n->variant[h]];
	struct block_buf *buf = block_pool_get(lab_pool);

	if (buf == NULL)
		return;
	n->at[h].buf = buf;
	n->at[h].present = HEADER_SZ;
	n->at[h].whole = life_rnd(&n->rng, 5) == 0;
	memcpy(buf->data, b->raw, HEADER_SZ);
	if (!n->at[h].whole)
		scan_arrive(n->l->s, buf, b->sz, HEADER_SZ, 10 + h);
}

static void net_give_up(struct net *n, uint32_t h)
{
	n->leaving[n->leaving_cnt++] = n->at[h].buf;
	n->at[h].buf = NULL;
	net_tidy(n);
}

static void net_more(struct net *n, uint32_t h)
{
	const struct lab_block *b = &n->l->block[h][n->variant[h]];
	uint32_t left = b->sz - n->at[h].present, more = 1 + life_rnd(&n->rng, 3000);

	more = more < left ? more : left;
	memcpy(n->at[h].buf->data + n->at[h].present, b->raw + n->at[h].present, more);
	n->at[h].present += more;
	if (!n->at[h].whole)
		scan_arrived(n->l->s, n->at[h].buf, n->at[h].present);
}

static void net_submit(struct net *n, const struct chain_event *ev, enum block_verdict want)
{
	struct life *l = n->l;
	unsigned i = atomic_load_explicit(&l->in_cnt, memory_order_relaxed);

	if (i == EVENT_MAX)
		abort(); /* not the thread for assertions */
	l->in[i] = (struct scan_event){.ev = *ev};
	l->want[i] = want;
	atomic_store_explicit(&l->in_cnt, i + 1, memory_order_release);
	while (!scan_submit(l->s, &l->in[i])) {
		net_tidy(n);
		sched_yield();
	}
}

static struct chain_event block_event(const struct net *n, uint32_t h, enum chain_event_kind kind)
{
	const struct lab_block *b = &n->l->block[h][n->variant[h]];

	return (struct chain_event){
		.kind = kind, .height = 10 + h, .epoch = n->epoch, .hash = b->hash, .buf = n->at[h].buf};
}

/* The next block is there: as it is, or with a bit turned and those after it cancelled. */
static void net_hand_out(struct net *n)
{
	const struct lab_block *b = &n->l->block[n->next][n->variant[n->next]];
	struct chain_event ev = block_event(n, n->next, CHAIN_CONNECT);
	uint32_t h = n->next, last = h;

	ev.buf->sz = b->sz;
	if (!n->at[h].whole || life_rnd(&n->rng, 4) != 0) {
		net_submit(n, &ev, BLOCK_GOOD);
		n->at[h].buf = NULL;
		n->next++;
		return;
	}
	ev.buf->data[b->sz - 1] ^= 1; /* the locktime of the last transaction */
	net_submit(n, &ev, BLOCK_BAD_MERKLE);
	n->at[h].buf = NULL;
	/* What is complete behind it goes out too, before the verdict can have come. */
	while (++last < HEIGHTS && n->at[last].buf != NULL &&
	       n->at[last].present == n->l->block[last][n->variant[last]].sz) {
		ev = block_event(n, last, CHAIN_CONNECT);
		ev.buf->sz = n->l->block[last][n->variant[last]].sz;
		net_submit(n, &ev, BLOCK_CANCELLED);
		n->at[last].buf = NULL;
	}
	n->epoch++;
}

/* Up to three blocks are taken back, and the chain goes on with the other ones. */
static void net_reorg(struct net *n)
{
	uint32_t depth = 1 + life_rnd(&n->rng, 3);

	for (; depth > 0 && n->next > 0; depth--) {
		struct chain_event ev;

		n->next--;
		ev = block_event(n, n->next, CHAIN_DISCONNECT);
		ev.buf = NULL;
		net_submit(n, &ev, BLOCK_GOOD);
		n->variant[n->next] ^= 1;
	}
}

static void *net_lcore(void *arg)
{
	struct life *l = arg;
	struct net n = {.l = l, .rng = l->rng * 3 + 1};
	struct chain_event start = {.kind = CHAIN_START, .height = 9};
	unsigned reorgs = 0, idle = 0;

	net_submit(&n, &start, BLOCK_GOOD);
	while (n.next < HEIGHTS) {
		uint32_t to = n.next + AHEAD < HEIGHTS ? n.next + AHEAD : HEIGHTS;
		uint32_t h = n.next + life_rnd(&n.rng, to - n.next);

		net_tidy(&n);
		if (n.at[h].buf == NULL)
			net_begin(&n, h);
		else if (n.at[h].present < l->block[h][n.variant[h]].sz)
			net_more(&n, h);
		if (n.at[h].buf != NULL && life_rnd(&n.rng, 40) == 0)
			net_give_up(&n, h);
		if (n.at[n.next].buf != NULL && n.at[n.next].present == l->block[n.next][n.variant[n.next]].sz)
			net_hand_out(&n);
		if (reorgs < 6 && life_rnd(&n.rng, 60) == 0) {
			/* Those arriving are of the old branch or of none. */
			for (uint32_t i = 0; i < HEIGHTS; i++)
				if (n.at[i].buf != NULL)
					net_give_up(&n, i);
			net_reorg(&n);
			reorgs++;
		}
		if (life_rnd(&n.rng, 8) == 0)
			sched_yield();
	}
	atomic_store_explicit(&l->net_over, true, memory_order_release);
	while (!atomic_load_explicit(&l->quit, memory_order_relaxed) || n.leaving_cnt > 0) {
		net_tidy(&n);
		lab_rest(false, &idle);
	}
	net_tidy(&n);
	return NULL;
}

/* --- main -------------------------------------------------------------------------------------------------- */

struct model {
	struct life *l;
	uint64_t rng;
	unsigned out_cnt;           /* events */
	int32_t connected[HEIGHTS]; /* variant, or -1 */
	uint32_t tip;               /* heights connected */
	uint64_t good_cnt, acked_cnt;
	/* Of each transaction: added; answered; reported with the block's present connection. */
	bool added[HEIGHTS][VARIANTS][TX_CNT], answered[HEIGHTS][VARIANTS][TX_CNT];
	bool reported[HEIGHTS][VARIANTS][TX_CNT];
	unsigned added_cnt, answered_cnt;
};

static uint64_t cookie_of(uint32_t h, uint32_t v, uint32_t t)
{
	return ((uint64_t)h * VARIANTS + v) * TX_CNT + t;
}

static void on_added(struct model *m, const struct scan_output *o)
{
	uint32_t t = (uint32_t)(o->cookie % TX_CNT), v = (uint32_t)(o->cookie / TX_CNT % VARIANTS);
	uint32_t h = (uint32_t)(o->cookie / TX_CNT / VARIANTS);

	assert_int_equal(o->error, 0);
	assert_false(m->answered[h][v][t]);
	m->answered[h][v][t] = true;
	m->answered_cnt++;
	/* It found the block if and only if that is out, or else the block will find it. */
	assert_int_equal(o->recent_cnt, m->connected[h] == (int32_t)v);
	if (o->recent_cnt == 0)
		return;
	assert_int_equal(o->recent[0].height, 10 + h);
	assert_int_equal(o->recent[0].tx_idx, t);
	assert_false(m->reported[h][v][t]);
	m->reported[h][v][t] = true;
}

static void on_connected(struct model *m, const struct scan_output *o)
{
	uint32_t h = o->event.ev.height - 10, v = 0, hit = 0;
	const struct lab_block *b;

	while (!hash256_eq(&m->l->block[h][v].hash, &o->event.ev.hash))
		v++;
	b = &m->l->block[h][v];
	assert_int_equal(h, m->tip);
	m->tip++;
	m->connected[h] = (int32_t)v;
	m->good_cnt++;
	assert_true(m->good_cnt - m->acked_cnt <= WINDOW);
	assert_int_equal(o->block->tx_cnt, b->tx_cnt);
	assert_memory_equal(o->txid, b->txid, b->tx_cnt * HASH_SZ);
	for (uint32_t t = 0; t < b->tx_cnt; t++) {
		bool is_hit = hit < o->hit_cnt && o->hit[hit].tx_idx == t;

		hit += is_hit;
		/* The answer comes first if the shard had the locator when it saw the block. */
		assert_int_equal(is_hit, m->answered[h][v][t]);
		m->reported[h][v][t] = is_hit;
	}
	assert_int_equal(hit, o->hit_cnt);
}

static void on_event(struct model *m, const struct scan_output *o)
{
	struct life *l = m->l;
	unsigned i = m->out_cnt++;
	const struct chain_event *in;

	assert_true(i < atomic_load_explicit(&l->in_cnt, memory_order_acquire));
	in = &l->in[i].ev;
	assert_int_equal(o->event.ev.kind, in->kind);
	assert_int_equal(o->event.ev.height, in->height);
	assert_ptr_equal(o->event.ev.buf, in->buf);
	assert_int_equal(o->verdict, l->want[i]);
	if (in->kind == CHAIN_CONNECT && o->verdict == BLOCK_GOOD)
		on_connected(m, o);
	if (in->kind == CHAIN_DISCONNECT) {
		m->tip--;
		assert_int_equal(m->tip, in->height - 10);
		memset(m->reported[m->tip], 0, sizeof(m->reported[m->tip]));
		m->connected[m->tip] = -1;
	}
}

static void model_outputs(struct model *m)
{
	struct life *l = m->l;
	struct scan_output o;

	while (scan_output(l->s, &o)) {
		struct block_buf *buf = o.kind == SCAN_OUT_EVENT ? o.event.ev.buf : NULL;

		if (o.kind == SCAN_OUT_ADDED)
			on_added(m, &o);
		else
			on_event(m, &o);
		scan_output_release(l->s, &o);
		if (buf != NULL) {
			unsigned n = atomic_load_explicit(&l->back_cnt, memory_order_relaxed);

			l->back[n] = buf;
			atomic_store_explicit(&l->back_cnt, n + 1, memory_order_release);
		}
	}
}

static void model_add(struct model *m)
{
	uint32_t low = m->tip > 4 ? m->tip - 4 : 0, h = low + life_rnd(&m->rng, 8);
	uint32_t v = life_rnd(&m->rng, VARIANTS), t;
	const struct lab_block *b;
	struct scan_edit e = {.kind = SCAN_ADD};

	if (h >= HEIGHTS)
		return;
	b = &m->l->block[h][v];
	t = life_rnd(&m->rng, b->tx_cnt);
	if (m->added[h][v][t])
		return;
	e.cookie = cookie_of(h, v, t);
	e.locator = locator_of_txid(&b->txid[t], life_rnd(&m->rng, 2) ? LOCATOR_DISPLAY : LOCATOR_INTERNAL);
	if (!scan_edit(m->l->s, &e))
		return;
	m->added[h][v][t] = true;
	m->added_cnt++;
}

static uint64_t adds_seen, ahead_seen;

static void main_lcore(struct life *l)
{
	static struct model m;
	struct scan_stats st;
	unsigned idle = 0;

	memset(&m, 0, sizeof(m));
	m.l = l;
	m.rng = l->rng * 5 + 3;
	memset(m.connected, 0xff, sizeof(m.connected));
	for (;;) {
		bool over = atomic_load_explicit(&l->net_over, memory_order_acquire);

		model_outputs(&m);
		if (over && m.out_cnt == atomic_load_explicit(&l->in_cnt, memory_order_acquire) &&
		    m.added_cnt == m.answered_cnt)
			break;
		if (!over)
			for (uint32_t n = life_rnd(&m.rng, 4); n > 0; n--)
				model_add(&m);
		if (m.acked_cnt < m.good_cnt && life_rnd(&m.rng, 3) == 0) {
			m.acked_cnt += 1 + life_rnd(&m.rng, (uint32_t)(m.good_cnt - m.acked_cnt));
			scan_ack(l->s, m.acked_cnt);
		}
		lab_rest(false, &idle);
	}
	assert_int_equal(m.tip, HEIGHTS);
	for (uint32_t h = 0; h < HEIGHTS; h++)
		for (uint32_t t = 0; t < l->block[h][m.connected[h]].tx_cnt; t++)
			assert_int_equal(m.reported[h][m.connected[h]][t], m.added[h][m.connected[h]][t]);
	scan_stats_get(l->s, &st);
	adds_seen += m.added_cnt;
	ahead_seen += st.ahead;
}

static void live(unsigned workers, uint64_t seed)
{
	static struct life l;
	struct {
		struct life *l;
		unsigned idx;
	} arg[8];
	pthread_t net, scan[8];

	memset(&l, 0, sizeof(l));
	l.workers = workers;
	l.rng = seed * 0x9e3779b97f4a7c15u + 12345;
	for (uint32_t h = 0; h < HEIGHTS; h++)
		for (uint32_t v = 0; v < VARIANTS; v++)
			lab_block_make(&l.block[h][v], 10 + h, 1 + life_rnd(&l.rng, TX_CNT),
				       life_rnd(&l.rng, 20) == 0 ? 2000 : 1 + life_rnd(&l.rng, 100),
				       (h * VARIANTS + v + 1) * 100000u);
	l.s = lab_scan_new(workers, WINDOW);
	for (unsigned i = 0; i < workers; i++) {
		arg[i].l = &l;
		arg[i].idx = i;
		assert_int_equal(pthread_create(&scan[i], NULL, scan_lcore, &arg[i]), 0);
	}
	assert_int_equal(pthread_create(&net, NULL, net_lcore, &l), 0);
	main_lcore(&l);
	atomic_store(&l.quit, true);
	/* The scan lcores first, so that net meets nobody: but then nobody may be stuck inside. */
	for (unsigned i = 0; i < workers; i++)
		pthread_join(scan[i], NULL);
	pthread_join(net, NULL);
	assert_int_equal(block_pool_free_cnt(lab_pool), block_pool_cnt(lab_pool));
	for (uint32_t h = 0; h < HEIGHTS; h++)
		for (uint32_t v = 0; v < VARIANTS; v++)
			lab_block_free(&l.block[h][v]);
	scan_free(l.s);
}

static void one_scan_lcore_keeps_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++)
		live(1, seed);
	assert_true(adds_seen > 100 && ahead_seen > 0);
}

static void two_and_three_scan_lcores_keep_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 11; seed <= 13; seed++) {
		live(2, seed);
		live(3, seed);
	}
}

static void eight_scan_lcores_keep_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 21; seed <= 23; seed++)
		live(8, seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_scan_lcore_keeps_the_model),
		cmocka_unit_test(two_and_three_scan_lcores_keep_the_model),
		cmocka_unit_test(eight_scan_lcores_keep_the_model),
	};

	if (!lab_start(16))
		return 1;
	return cmocka_run_group_tests_name("scan/model", tests, NULL, NULL);
}
