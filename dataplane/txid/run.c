/* The scheduler of every kernel: keeps all lanes of an engine at work whatever the sizes of the transactions.

   A txid's preimage is hashed where it lies, but for two places: the first block of a segwit transaction, from which
   marker and flag are cut, and the end, to which locktime and padding are joined.

     wire   version | 00 01 | inputs, outputs ........................ | witness | locktime
     parts  head: version and 60 bytes | body: in place, whole blocks | tail: the rest, locktime, padding

   Small transactions are copied as a whole.  Copies wait in queues, by how many blocks they have, until there is one
   for each lane: so all run without a branch that depends on a size.  Bodies are of any length: a lane whose body
   ends takes the next one.  A transaction's state rests in its place in the result. */
#include "txid/txid_priv.h"

#define BLK_SZ 64u
/* A preimage of up to so many blocks, padding included, is copied. */
#define COPY_BLK_MAX 4u
/* A body may hold up the rest only if it is long; looking for that costs time. */
#define LONG_BLK_CNT 512u
/* Transactions whose first and last lines are fetched in advance. */
#define AHEAD 24u

struct shape {
	const uint8_t *tx;
	uint32_t cut;      /* preimage byte i, 4 <= i < strip_sz - 4, is tx[i + cut] */
	uint32_t strip_sz; /* bytes of the preimage */
	uint32_t blk_cnt;  /* whole blocks before the locktime: head and body */
	uint32_t rest_sz;  /* bytes between them and the locktime */
	uint32_t tail_cnt; /* blocks of the tail, 1 or 2 */
};

/* Copies that wait, in two halves of as many as there are lanes.  A half that is full waits until the other is: loads
   right after the small stores of a copy would stall. */
struct queue {
	unsigned at;     /* the next free place */
	bool other_full; /* the half in which it is not */
	struct hash256 *st[2 * TXID_LANE_MAX];
	const uint8_t *p[2 * TXID_LANE_MAX];
	/* In front of each a block of room, for what a copy of fixed size brings along. */
	uint8_t blk[2 * TXID_LANE_MAX][(1 + COPY_BLK_MAX) * BLK_SZ];
};

/* At work, one in each lane. */
struct bodies {
	unsigned cnt;
	struct hash256 *st[TXID_LANE_MAX];
	const uint8_t *p[TXID_LANE_MAX];
	size_t left[TXID_LANE_MAX]; /* blocks */
};

/* The queue of heads; that of the last n blocks of a preimage is n. */
enum { HEADS = 0, QUEUE_CNT = COPY_BLK_MAX + 1 };

struct run {
	const struct txid_engine *e;
	const uint8_t *block;
	const struct tx_view *tx;
	struct hash256 *txid;
	size_t togo;       /* blocks in bodies that are not hashed yet, also of transactions to come */
	unsigned long_cnt; /* long bodies at work */
	struct queue queue[QUEUE_CNT];
	struct bodies bodies;
};

static inline struct shape shape_of(const uint8_t *block, const struct tx_view *t)
{
	uint32_t cut = t->segwit ? 2 : 0;
	uint32_t strip_sz = t->sz - t->wit_sz - cut;
	uint32_t rest_sz = (strip_sz - 4) % BLK_SZ;

	return (struct shape){.tx = block + t->off,
			      .cut = cut,
			      .strip_sz = strip_sz,
			      .blk_cnt = (strip_sz - 4) / BLK_SZ,
			      .rest_sz = rest_sz,
			      .tail_cnt = rest_sz + 4 + 9 > BLK_SZ ? 2 : 1};
}

static inline uint32_t body_cnt(const struct shape *s)
{
	return s->cut != 0 && s->blk_cnt != 0 ? s->blk_cnt - 1 : s->blk_cnt;
}

static const struct txid_engine *engine_for(const struct txid_engine *e, unsigned busy)
{
	while (busy <= e->narrow_max)
		e = e->narrow;
	return e;
}

/* cnt blocks of each of busy messages, and if they are the last ones, the second hash. */
static void advance(const struct txid_engine *e, struct hash256 *const *st, const uint8_t *const *p,
		    unsigned busy, size_t cnt, bool last)
{
	struct hash256 nobody, *some_st[TXID_LANE_MAX];
	const uint8_t *some_p[TXID_LANE_MAX];

	if (busy == e->lane_cnt) {
		e->blocks(st, p, cnt);
		if (last)
			e->finish(st);
		return;
	}
	nobody = e->iv;
	for (unsigned from = 0; from < busy;) {
		const struct txid_engine *n = engine_for(e, busy - from);
		unsigned take = busy - from < n->lane_cnt ? busy - from : n->lane_cnt;

		for (unsigned i = 0; i < n->lane_cnt; i++) {
			some_st[i] = i < take ? st[from + i] : &nobody;
			some_p[i] = p[i < take ? from + i : from];
		}
		n->blocks(some_st, some_p, cnt);
		if (last)
			n->finish(some_st);
		from += take;
	}
}

static void body_push(struct run *r, struct hash256 *st, const struct shape *s, uint32_t done_cnt);

static void queue_run(struct run *r, unsigned which, unsigned from, unsigned cnt)
{
	struct queue *q = &r->queue[which];

	if (which != HEADS) {
		advance(r->e, q->st + from, q->p + from, cnt, which, true);
		return;
	}
	advance(r->e, q->st + from, q->p + from, cnt, 1, false);
	for (unsigned i = from; i < from + cnt; i++) {
		const struct shape s = shape_of(r->block, &r->tx[q->st[i] - r->txid]);

		body_push(r, q->st[i], &s, 1);
	}
}

/* A half has become full: the other one, if it waits, is run and filled next. */
static void queue_turn(struct run *r, unsigned which)
{
	struct queue *q = &r->queue[which];
	bool was_full = q->other_full;

	q->other_full = true;
	q->at %= 2 * r->e->lane_cnt;
	if (was_full)
		queue_run(r, which, q->at, r->e->lane_cnt);
}

/* At the end: what waits. */
static void queue_rest(struct run *r, unsigned which)
{
	struct queue *q = &r->queue[which];
	unsigned lane_cnt = r->e->lane_cnt, half = q->at < lane_cnt ? 0 : lane_cnt;

	if (q->other_full)
		queue_run(r, which, lane_cnt - half, lane_cnt);
	if (q->at != half)
		queue_run(r, which, half, q->at - half);
	q->other_full = false;
	q->at = 0;
}

/* Where the next copy goes. */
static inline uint8_t *queue_blk(struct queue *q)
{
	return q->blk[q->at] + BLK_SZ;
}

static inline void queue_push(struct run *r, unsigned which, struct hash256 *st)
{
	struct queue *q = &r->queue[which];
	unsigned at = q->at++;

	q->st[at] = st;
	if (at + 1 == r->e->lane_cnt || at + 1 == 2 * r->e->lane_cnt)
		queue_turn(r, which);
}

static inline void tail_copy(uint8_t *blk, const struct shape *s, const uint8_t *locktime)
{
	memset(blk, 0, BLK_SZ);
	if (s->tail_cnt == 2)
		memset(blk + BLK_SZ, 0, BLK_SZ);
	if (s->blk_cnt != 0) {
		/* A whole block, much of it in front of the tail: cheaper than a copy of unknown size. */
		memcpy(blk + s->rest_sz - BLK_SZ, s->tx + s->cut + s->strip_sz - 4 - BLK_SZ, BLK_SZ);
	} else {
		memcpy(blk, s->tx, 4);
		memcpy(blk + 4, s->tx + 4 + s->cut, s->rest_sz - 4);
	}
	memcpy(blk + s->rest_sz, locktime, 4);
	blk[s->rest_sz + 4] = 0x80;
	store_be64(blk + s->tail_cnt * BLK_SZ - 8, (uint64_t)s->strip_sz * 8);
}

static inline const uint8_t *locktime_of(const struct run *r, const struct tx_view *t)
{
	return r->block + t->off + t->sz - 4;
}

static void tail_push(struct run *r, struct hash256 *st, const struct shape *s)
{
	tail_copy(queue_blk(&r->queue[s->tail_cnt]), s, locktime_of(r, &r->tx[st - r->txid]));
	queue_push(r, s->tail_cnt, st);
}

/* A preimage of few blocks. */
static inline void whole_push(struct run *r, struct hash256 *st, const struct shape *s, const struct tx_view *t)
{
	unsigned which = s->blk_cnt + s->tail_cnt;
	uint8_t *blk = queue_blk(&r->queue[which]);

	r->togo -= body_cnt(s);
	for (uint32_t i = 0; i < s->blk_cnt; i++)
		memcpy(blk + i * BLK_SZ, s->tx + s->cut + i * BLK_SZ, BLK_SZ);
	tail_copy(blk + s->blk_cnt * BLK_SZ, s, locktime_of(r, t));
	memcpy(blk, s->tx, 4);
	queue_push(r, which, st);
}

static inline void head_push(struct run *r, struct hash256 *st, const uint8_t *tx)
{
	uint8_t *blk = queue_blk(&r->queue[HEADS]);

	memcpy(blk, tx + 2, BLK_SZ);
	memcpy(blk, tx, 4);
	queue_push(r, HEADS, st);
}

/* With a body so long that the others would be done before it, fewer lanes at a time are faster: each of them
   then goes faster, and there is company for the long one till its end.  Two cost hardly more than one.  Puts the
   longest first. */
static unsigned useful_lanes(struct run *r)
{
	struct bodies *b = &r->bodies;
	unsigned longest = 0, width;
	size_t lanes;

	for (unsigned i = 1; i < b->cnt; i++)
		if (b->left[i] > b->left[longest])
			longest = i;
	if (b->left[longest] < LONG_BLK_CNT)
		return b->cnt;
	lanes = r->togo / b->left[longest];
	lanes = lanes < 2 ? 2 : lanes;
	if (lanes >= b->cnt)
		return b->cnt;
	/* What the engine can do in the same time as that. */
	width = engine_for(r->e, (unsigned)lanes)->lane_cnt;
	lanes = (lanes + width - 1) / width * width;
	if (lanes >= b->cnt)
		return b->cnt;
	if (longest != 0) {
		struct hash256 *st = b->st[0];
		const uint8_t *p = b->p[0];
		size_t left = b->left[0];

		b->st[0] = b->st[longest];
		b->p[0] = b->p[longest];
		b->left[0] = b->left[longest];
		b->st[longest] = st;
		b->p[longest] = p;
		b->left[longest] = left;
	}
	return (unsigned)lanes;
}

/* Goes on until the shortest body at work has ended. */
static void bodies_step(struct run *r)
{
	struct bodies *b = &r->bodies;
	unsigned busy = useful_lanes(r);
	size_t cnt = b->left[0];

	for (unsigned i = 1; i < busy; i++)
		cnt = b->left[i] < cnt ? b->left[i] : cnt;
	advance(r->e, b->st, b->p, busy, cnt, false);
	r->togo -= cnt * busy;
	/* Downwards, so that what takes a place was looked at. */
	for (unsigned i = busy; i-- > 0;) {
		b->p[i] += cnt * BLK_SZ;
		b->left[i] -= cnt;
		if (b->left[i] == 0) {
			unsigned last = --b->cnt;
			struct hash256 *finished;
			struct shape s;

			finished = b->st[i];
			b->st[i] = b->st[last];
			b->p[i] = b->p[last];
			b->left[i] = b->left[last];
			s = shape_of(r->block, &r->tx[finished - r->txid]);
			if (body_cnt(&s) >= LONG_BLK_CNT)
				r->long_cnt--;
			tail_push(r, finished, &s);
		}
	}
}

/* The blocks of a transaction after the first done_cnt. */
static void body_push(struct run *r, struct hash256 *st, const struct shape *s, uint32_t done_cnt)
{
	struct bodies *b = &r->bodies;

	if (s->blk_cnt == done_cnt) {
		tail_push(r, st, s);
		return;
	}
	if (b->cnt == r->e->lane_cnt)
		bodies_step(r);
	b->st[b->cnt] = st;
	b->p[b->cnt] = s->tx + s->cut + done_cnt * BLK_SZ;
	b->left[b->cnt] = s->blk_cnt - done_cnt;
	if (b->left[b->cnt] >= LONG_BLK_CNT)
		r->long_cnt++;
	b->cnt++;
}

/* What lies between is read in order, which the CPU foresees. */
static inline void prefetch_ends(const uint8_t *p, const struct tx_view *t)
{
	__builtin_prefetch(p + t->off);
	__builtin_prefetch(p + t->off + BLK_SZ);
	__builtin_prefetch(p + t->off + t->sz - 4);
}

static size_t body_blocks(const uint8_t *p, const struct tx_view *tx, size_t cnt)
{
	size_t sum = 0;

	for (size_t i = 0; i < cnt; i++) {
		const struct shape s = shape_of(p, &tx[i]);

		sum += body_cnt(&s);
	}
	return sum;
}

static void run_init(struct run *r)
{
	r->bodies.cnt = 0;
	r->long_cnt = 0;
	for (unsigned which = 0; which < QUEUE_CNT; which++) {
		struct queue *q = &r->queue[which];

		q->at = 0;
		q->other_full = false;
		for (unsigned i = 0; i < 2 * r->e->lane_cnt; i++)
			q->p[i] = q->blk[i] + BLK_SZ;
	}
}

void txid_run(const struct txid_engine *e, const uint8_t *p, const struct tx_view *tx, struct hash256 *txid,
	      size_t cnt)
{
	struct run r;

	r.e = e;
	r.block = p;
	r.tx = tx;
	r.txid = txid;
	r.togo = body_blocks(p, tx, cnt);
	run_init(&r);
	for (size_t i = 0; i < cnt; i++) {
		const struct shape s = shape_of(p, &tx[i]);

		if (i + AHEAD < cnt)
			prefetch_ends(p, &tx[i + AHEAD]);
		txid[i] = e->iv;
		/* Beside a long body, all others are company for it. */
		if (s.blk_cnt + s.tail_cnt <= COPY_BLK_MAX && (r.long_cnt == 0 || body_cnt(&s) == 0))
			whole_push(&r, &txid[i], &s, &tx[i]);
		else if (tx[i].segwit)
			head_push(&r, &txid[i], s.tx);
		else
			body_push(&r, &txid[i], &s, 0);
	}
	queue_rest(&r, HEADS);
	while (r.bodies.cnt != 0)
		bodies_step(&r);
	for (unsigned which = 1; which < QUEUE_CNT; which++)
		queue_rest(&r, which);
}
