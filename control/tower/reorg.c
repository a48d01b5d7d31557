/* What a reorg took off the chain is handed to the network once more when the next block is connected: by then the nodes
   follow the new branch.  A dispute that went is sent before its penalty, which needs it; where it is still on the chain the
   penalty goes alone.  What came back with that very block is left alone.
   Peers get the two in this order.  A node's RPC may judge both at a time, and may have the penalty under way since its
   block was undone; so when nodes have answered for both, and refused the penalty, it goes to them a second time.
   Kept in memory only: a restart in between forgets it, and loses nothing by that, because a dispute that is mined
   again is answered as if it were new. */
#include <stdlib.h>

#include "log/log.h"
#include "tower/tower_priv.h"

static void push(struct reorged_list *l, struct reorged *x)
{
	x->next = l->first;
	l->first = x;
	l->cnt++;
	l->bytes += (size_t)x->dispute_sz + x->penalty_sz;
}

static void add(struct reorged_list *l, const struct appointment_key *a, const struct tracker_row *r,
		struct slice dispute, struct slice penalty)
{
	struct reorged *x = malloc(sizeof(*x) + dispute.sz + penalty.sz);

	if (x == NULL)
		abort();
	*x = (struct reorged){
		.key = *a,
		.dispute = r->dispute_txid,
		.penalty = r->penalty_txid,
		.epoch = r->epoch,
		.dispute_sz = (uint32_t)dispute.sz,
		.penalty_sz = (uint32_t)penalty.sz,
	};
	if (dispute.sz > 0)
		memcpy(x->raw, dispute.p, dispute.sz);
	if (penalty.sz > 0)
		memcpy(x->raw + dispute.sz, penalty.p, penalty.sz);
	push(l, x);
}

void reorged_tracker(struct reorged_list *l, const struct appointment_key *a, const struct tracker_row *r,
		     struct slice dispute)
{
	add(l, a, r, dispute, (struct slice){r->raw, r->raw_sz});
}

void reorged_penalty(struct reorged_list *l, const struct appointment_key *a, const struct tracker_row *r)
{
	add(l, a, r, (struct slice){NULL, 0}, (struct slice){NULL, 0});
}

static struct reorged *pop(struct reorged_list *l)
{
	struct reorged *x = l->first;

	if (x != NULL) {
		l->first = x->next;
		l->cnt--;
		l->bytes -= (size_t)x->dispute_sz + x->penalty_sz;
	}
	return x;
}

void reorged_move(struct reorged_list *dst, struct reorged_list *src)
{
	uint32_t dropped = 0;

	for (struct reorged *x; (x = pop(src)) != NULL;) {
		if (dst->cnt >= REORGED_MAX || dst->bytes + x->dispute_sz + x->penalty_sz > REORGED_BYTES_MAX) {
			free(x);
			dropped++;
			continue;
		}
		push(dst, x);
	}
	if (dropped > 0)
		log_warn("reorg_resend", "Too many transactions went with the reorg: some wait for their block",
			 log_u64("count", dropped));
}

void reorged_free(struct reorged_list *l)
{
	for (struct reorged *x; (x = pop(l)) != NULL;)
		free(x);
}

/* The dispute is off the chain, and its appointment is watched again. */
static bool send_both(struct tower *t, const struct reorged *x)
{
	if (x->penalty_sz == 0 || !row_alive_at(t, &x->key.user, x->epoch, t->tip.height))
		return false;
	log_info("reorg_resend", "A dispute that a reorg took off the chain is sent again, then its penalty",
		 log_hash("dispute", x->dispute.b), log_hash("penalty", x->penalty.b),
		 log_u64("dispute_bytes", x->dispute_sz));
	if (x->dispute_sz > 0)
		t->ops.broadcast(t->arg, &x->dispute, x->raw, x->dispute_sz);
	t->ops.broadcast(t->arg, &x->penalty, x->raw + x->dispute_sz, x->penalty_sz);
	return true;
}

/* The dispute is where it was: its penalty is due.  One whose dispute came back in this very block has just been sent. */
static void send_penalty(struct tower *t, const struct reorged *x, const struct tracker_row *r)
{
	struct penalty *p = penalty_find(t, &x->penalty);

	if (p != NULL && !p->idle && r->dispute_height != t->tip.height)
		p->next_ns = t->now_ns;
}

static int by_txids(const void *a, const void *b)
{
	const struct reorged *x = *(struct reorged *const *)a, *y = *(struct reorged *const *)b;
	int d = memcmp(x->dispute.b, y->dispute.b, HASH_SZ);

	return d != 0 ? d : memcmp(x->penalty.b, y->penalty.b, HASH_SZ);
}

/* Of those with the same dispute the ones that have its bytes come first: penalties need it sent before them. */
static int by_order(const void *a, const void *b)
{
	const struct reorged *x = *(struct reorged *const *)a, *y = *(struct reorged *const *)b;
	int d = memcmp(x->dispute.b, y->dispute.b, HASH_SZ);

	if (d == 0)
		d = (y->dispute_sz > 0) - (x->dispute_sz > 0);
	return d != 0 ? d : by_txids(a, b);
}

void reorged_send(struct tower *t)
{
	uint32_t n = t->reorged.cnt;
	const struct reorged *sent = NULL;
	struct reorged **all;

	if (n == 0)
		return;
	all = malloc(n * sizeof(struct reorged *));
	if (all == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
		all[i] = pop(&t->reorged);
	/* Users who have the same penalty have it sent once. */
	qsort(all, n, sizeof(struct reorged *), by_order);
	for (uint32_t i = 0; i < n; i++) {
		struct tracker_row r;

		if (tracker_get(t, &all[i]->key, &r) == 0)
			send_penalty(t, all[i], &r);
		else if ((sent == NULL || by_txids(&sent, &all[i]) != 0) && send_both(t, all[i]))
			sent = all[i];
		if (sent == all[i] && sent->dispute_sz > 0) {
			all[i]->sent_height = t->tip.height;
			push(&t->resent, all[i]);
			all[i] = NULL;
		}
	}
	for (uint32_t i = 0; i < n; i++)
		free(all[i]);
	free(all);
}

/* --- and once more --------------------------------------------------------------------------------------------- */

void reorged_answer(struct tower *t, const struct hash256 *txid, enum node_verdict v)
{
	if (v != NODE_ACCEPTED && v != NODE_REFUSED && v != NODE_UNREACHABLE)
		return;
	for (struct reorged *x = t->resent.first; x != NULL; x = x->next) {
		if (hash256_eq(&x->dispute, txid))
			x->dispute_answered = true;
		else if (hash256_eq(&x->penalty, txid))
			x->penalty_refused = v != NODE_ACCEPTED;
	}
}

/* Its time is over, or the dispute is back and has a tracker. */
static bool is_past(struct tower *t, const struct reorged *x)
{
	struct tracker_row r;

	return t->tip.height < x->sent_height || t->tip.height - x->sent_height >= t->cfg.rebroadcast_blocks ||
	       tracker_get(t, &x->key, &r) == 0;
}

void reorged_follow(struct tower *t)
{
	struct reorged_list keep = {.first = NULL};

	for (struct reorged *x; (x = pop(&t->resent)) != NULL;) {
		bool again = x->dispute_answered && x->penalty_refused;

		if (!again && !is_past(t, x)) {
			push(&keep, x);
			continue;
		}
		if (again && !is_past(t, x))
			t->ops.broadcast(t->arg, &x->penalty, x->raw + x->dispute_sz, x->penalty_sz);
		free(x);
	}
	t->resent = keep;
}
