/* feed_priv.h - what feed.c (connection, time, calls of the tower) and session.c (what goes over it) share. */
#ifndef VIGIL_FEED_FEED_PRIV_H
#define VIGIL_FEED_FEED_PRIV_H

#include <sys/un.h>

#include "feed/backlog.h"
#include "feed/check.h"
#include "feed/feed.h"
#include "link/frame.h"

#define FEED_WRITER_CAP (8u << 20)
/* Adds and deletes stop here, so that there is always room for a broadcast of the largest size. */
#define FEED_WRITER_HIGH (FEED_WRITER_CAP - LINK_REC_SZ_MAX)
/* A load is read from the tower only while less than this waits to be sent. */
#define FEED_WRITER_LOW  (512u << 10)
#define FEED_BATCH_MAX   4096u /* locators in a WATCH_LOAD: a millisecond or two of reading */
#define FEED_RETRY_MAX   4096u
#define FEED_RETRY_TIMES 5u    /* ticks in which refused adds are sent again before the session ends */
#define FEED_HEADERS_MAX 4032u /* two retarget periods */

struct feed_conn {
	uv_poll_t poll;
	struct feed *feed;
	int fd;
	int interest; /* events asked of poll */
};

struct feed {
	/* Lifetime. */
	uv_loop_t *loop;
	struct tower *tower;
	struct feed_config cfg;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	uv_timer_t timer; /* down: when to connect; else the session's tick */
	uv_timer_t kick;  /* on the next turn: a failure noted in a call, or reading that may go on */
	unsigned handles; /* not closed yet */
	bool freed;
	/* Reconnecting. */
	uint32_t delay_ms;
	uint32_t wrong_ms, broken_ms; /* at least this after a wrong HELLO, after a broken rule */
	char last_error[192];
	bool error_said; /* last_error is in the log, at error_said_ms, and no session has worked since */
	uint64_t error_said_ms;
	/* The session. */
	enum feed_state state;
	struct feed_conn *conn; /* NULL when down */
	const char *fail;       /* why it must end, found where it could not be ended */
	bool fail_is_broken;    /* the dataplane broke the contract */
	bool paused;            /* not reading until the tower catches up */
	struct link_reader reader;
	struct link_writer writer;
	bool answers_wait; /* broadcasts have been put since the last write */
	struct feed_check check;
	uint32_t acked_height;
	struct link_d_hello hello;
	struct tower_watch_cursor cursor;
	struct locator batch[FEED_BATCH_MAX];
	uint32_t batch_cnt;
	struct backlog backlog;
	struct pending pending;
	struct locator retry[FEED_RETRY_MAX]; /* refused adds, sent again by the next tick */
	uint32_t retry_cnt;
	bool refused;         /* an add was, since none was open */
	uint32_t retry_times; /* ticks that sent adds again, since then */
	uint32_t settled_ack; /* acked_height at that time */
	bool way_open, peer_came;
	uint64_t begun_ms, read_ms, write_ms; /* start of the session, last progress each way */
	uint64_t stats_ms;                    /* when STATS_GET was last sent */
	uint64_t load_ms;                     /* when the load began */
	struct feed_stale stale;
	/* What it told. */
	struct feed_info info; /* counters, chain, loaded_cnt */
	struct link_peer_state peer[FEED_PEER_MAX];
	uint32_t peer_cnt;
	struct link_stat stat[FEED_STAT_MAX];
	uint32_t stat_cnt;
};

/* session.c.  Both note a failure in f->fail and never end the session themselves. */
void session_begin(struct feed *f);
/* Takes what the socket has, within a bound, and hands whole records on. */
void session_read(struct feed *f);
/* Gives the socket what waits, making more of a load as there is room. */
void session_write(struct feed *f);
/* Adds, deletes and acks, in order. */
void session_queue(struct feed *f, const struct backlog_entry *e);
/* True while something could be written if the socket took it. */
bool session_wants_write(const struct feed *f);
/* Takes a locator out of the refused adds. */
void session_forget_retry(struct feed *f, const struct locator *l);
/* Ends a session in which sending a refused add again would not do.  After every change of acked_height. */
void session_refused_check(struct feed *f);
void session_tick(struct feed *f, uint64_t now_ms);
/* Forgets everything of the session but its counters. */
void session_clear(struct feed *f);
void session_fail(struct feed *f, const char *why, bool broken);

/* feed.c: the loop's next turn writes what was put, ends the session that failed by it, or reads on. */
void feed_touch(struct feed *f);

/* stale.c.  NULL, or why the record is not in order. */
const char *session_stale_hit(struct feed *f, const struct link_hit *r);
const char *session_stale_block(struct feed *f, const struct link_stale_block *r);
const char *session_stale_end(struct feed *f, const struct link_stale_end_record *r);
void session_stale_lost(struct feed *f); /* the session has ended */
void session_stale_free(struct feed *f);

#endif
