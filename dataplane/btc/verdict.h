/* verdict.h - what a strict reader of Bitcoin's serialization says about the bytes it was given. */
#ifndef VIGIL_BTC_VERDICT_H
#define VIGIL_BTC_VERDICT_H

enum parse_verdict {
	PARSE_OK = 0,
	PARSE_TRUNCATED,    /* a field runs past the end */
	PARSE_TRAILING,     /* bytes after the last field */
	PARSE_NONCANONICAL, /* a CompactSize longer than needed */
	PARSE_LIMIT,        /* a count, length, size or weight above what consensus allows */
	PARSE_WITNESS,      /* bad flag, or a marker with only empty stacks */
	PARSE_EMPTY,        /* no transactions, no inputs or no outputs */
	PARSE_COINBASE,     /* first transaction is not a coinbase, or another one is */
	PARSE_VERDICT_CNT
};

/* A short stable name ("truncated", ...) for counters and messages. */
const char *parse_verdict_name(enum parse_verdict v);

#endif
