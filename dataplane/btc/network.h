/* network.h - the constants of each Bitcoin network (spec/bitcoin.md section 1) and the arithmetic of
   proof of work (section 13).

   Threads Pure functions, any thread. */
#ifndef VIGIL_BTC_NETWORK_H
#define VIGIL_BTC_NETWORK_H

#include "btc/hash.h"

enum network_id { NET_MAIN, NET_TESTNET3, NET_TESTNET4, NET_SIGNET, NET_REGTEST, NETWORK_CNT };

/* A 256-bit unsigned integer, least significant limb first. */
struct u256 {
	uint64_t l[4];
};

struct network {
	enum network_id id;
	const char *name;      /* main, testnet3, testnet4, signet, regtest */
	const char *rpc_chain; /* "chain" of getblockchaininfo */
	const char *subdir;    /* of a node's data directory; "" for main */
	uint8_t magic[4];      /* wire bytes */
	uint16_t p2p_port;
	uint16_t rpc_port;
	uint32_t pow_limit_bits;
	struct u256 pow_limit; /* exact */
	uint32_t bip34_height; /* from here on a version below 2 is refused, .. */
	uint32_t bip66_height; /* .. below 3, .. */
	uint32_t bip65_height; /* .. below 4 */
	/* What the network's best chain is known to have reached: a chain with less is not it. */
	struct u256 min_chain_work;
	uint8_t genesis_header[HEADER_SZ];
	struct hash256 genesis_hash;
};

const struct network *network_get(enum network_id id);
/* Also accepts mainnet, test, testnet.  NULL if unknown. */
const struct network *network_by_name(const char *name);
const struct network *network_by_magic(const uint8_t magic[4]);

/* The fields of an 80-byte header, host byte order. */
struct header_fields {
	int32_t version;
	struct hash256 prev;
	struct hash256 merkle;
	uint32_t time;
	uint32_t bits;
	uint32_t nonce;
};
void header_decode(struct header_fields *f, const uint8_t h[HEADER_SZ]);
void header_encode(uint8_t h[HEADER_SZ], const struct header_fields *f);
struct hash256 header_hash(const uint8_t h[HEADER_SZ]);

/* Is the height that a coinbase claims one that BIP34 vouches for?  Before activation the same bytes are free
   text, which may well decode (main's block 1 says 486604799), and a lone block does not tell where in the
   chain it lies.  So a claim must pass everything that BIP34 being in force implies:

   - it is at or above the network's activation height.  Without a network, main's: the highest of all, so
     in force on every network;
   - the header's version is at least 2, as every network demands from there on;
   - the chain can have got that far by the header's time.  A block's time exceeds the median of the eleven
     before it, so no network gains more than six blocks a second over its genesis; and main, which aims at
     600 seconds a block and corrects itself, none above twice that pace. */
bool network_bip34_in_force(const struct network *net_or_null, const struct header_fields *h, int64_t height);

/* Target of compact bits.  False if negative, overflowing, zero or above the network's limit. */
bool pow_target(const struct network *n, uint32_t bits, struct u256 *target);
/* The same without a verdict: 0 where bits overflow, the magnitude where they are negative. */
struct u256 pow_expand(uint32_t bits, bool *negative, bool *overflow);
uint32_t pow_compact(const struct u256 *target);
/* Hash, read as a little-endian integer, is at or below the target of bits. */
bool pow_valid(const struct network *n, const struct hash256 *hash, uint32_t bits);
/* floor(2^256 / (target + 1)); target is not zero. */
struct u256 pow_work(const struct u256 *target);

struct u256 u256_add(const struct u256 *a, const struct u256 *b); /* wraps */
struct u256 u256_sub(const struct u256 *a, const struct u256 *b); /* wraps */
int u256_cmp(const struct u256 *a, const struct u256 *b);         /* <0, 0, >0 */
struct u256 u256_from_le(const uint8_t b[32]);
/* 1 to 64 hex digits of either case, most significant first, "0x" before them or not. */
bool u256_from_hex(struct u256 *a, const char *text);
void u256_to_le(uint8_t b[32], const struct u256 *a);

#endif
