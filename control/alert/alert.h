/* alert.h - tells a person: runs the operator's command when something needs one.

   Events   penalty_overdue   a dispute is deep and its penalty is not in a block (tower.h, Overdue)
            penalty_refused   a node refuses a penalty for a reason that time alone will not mend
            node_unusable     a node takes no penalties for over a minute
            node_usable       it does again
   Command  A program with its arguments, split at blanks, run directly: no shell, no search in PATH, no quotes.  What has
            happened is in its environment, beside PATH and LANG and nothing else:
              VIGIL_EVENT, VIGIL_NETWORK, VIGIL_SUPPRESSED (events since the last run that found the queue full)
              penalty_*: VIGIL_PENALTY, VIGIL_DISPUTE (txids), VIGIL_LOCATOR, VIGIL_DISPUTE_HEIGHT, VIGIL_DEPTH,
                         VIGIL_STEP (overdue only), VIGIL_STATE, VIGIL_TRIES, VIGIL_PEERS, VIGIL_REASON, VIGIL_CODE,
                         VIGIL_TEXT (the node's words)
              node_*:    VIGIL_NODE (host:port), VIGIL_STATE, VIGIL_TEXT
            Values are printable ASCII.  None of it is a secret (invariant I7).
            Its input and output are /dev/null, its working directory is the root.
   Pace     One run at a time, with at least interval_ms from one start to the next; up to ALERT_QUEUE_MAX events wait,
            the rest is counted.  A run that takes longer than timeout_ms gets SIGTERM, and SIGKILL 5 s later, with
            everything it started (it leads a process group of its own).
   Threads  The loop's thread.  Nothing blocks.  The process must not reap children by itself. */
#ifndef VIGIL_ALERT_ALERT_H
#define VIGIL_ALERT_ALERT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define ALERT_QUEUE_MAX  64u
#define ALERT_WORD_MAX   32u
#define ALERT_FACT_MAX   16u
#define ALERT_COMMAND_SZ 1024u

struct alert;

struct alert_config {
	const char *command; /* begins with a slash; "": events are counted and nothing is run */
	const char *network;
	unsigned interval_ms, timeout_ms;
};

/* One fact about an event: a name without VIGIL_ in front, and its value. */
struct alert_fact {
	const char *name;
	char value[192];
};

struct alert_info {
	uint64_t events_total, runs_total;
	uint64_t failures_total;   /* could not be started, or ended with another status than 0 */
	uint64_t timeouts_total;   /* had to be stopped */
	uint64_t suppressed_total; /* found the queue full */
	uint32_t queued;
};

/* NULL with *why set (static text): not an absolute path, too many words, or out of memory. */
struct alert *alert_new(const struct alert_config *cfg, uv_loop_t *loop, const char **why);
/* A run that is under way gets SIGTERM; nothing waits for it.  The memory is released by the loop's next turns. */
void alert_free(struct alert *a);

/* event is a static text; the facts are copied.  At most ALERT_FACT_MAX. */
void alert_raise(struct alert *a, const char *event, const struct alert_fact *facts, unsigned cnt);

/* Valid and up to date as long as the alert. */
const struct alert_info *alert_info_of(const struct alert *a);

/* --- what this tower's modules report (events.c) -------------------------------------------------------------- */

struct tower_alert;
void alert_penalty(struct alert *a, const struct tower_alert *p);
struct carrier_node_info;
void alert_node(struct alert *a, const struct carrier_node_info *n, bool usable);

#endif
