/* keys.c - every key, its checks and its help.  The order here is the order of --help and of the sample file. */
#include "config/config_priv.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- values ------------------------------------------------------------------------------------------------- */

/* Whole decimal numbers only: no sign, no space, no suffix. */
static bool number(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
		if (v > max)
			return false;
	}
	*out = v;
	return true;
}

static bool parse_u32(const struct config_key *k, void *field, const char *text, char *why)
{
	uint64_t v = 0;

	if (!number(text, k->max, &v) || v < k->min) {
		snprintf(why, CONFIG_TEXT_SZ, "is not a whole number from %" PRIu64 " to %" PRIu64, k->min,
			 k->max);
		return false;
	}
	*(uint32_t *)field = (uint32_t)v;
	return true;
}

static bool parse_text(const struct config_key *k, void *field, const char *text, char *why)
{
	if (strlen(text) >= k->sz) {
		snprintf(why, CONFIG_TEXT_SZ, "is longer than %zu bytes", k->sz - 1);
		return false;
	}
	memcpy(field, text, strlen(text) + 1);
	return true;
}

static bool parse_path(const struct config_key *k, void *field, const char *text, char *why)
{
	const char *home = "";

	if (text[0] == '~' && (text[1] == '/' || text[1] == '\0')) {
		home = getenv("HOME");
		if (!home || !*home) {
			snprintf(why, CONFIG_TEXT_SZ, "begins with ~ but HOME is not set");
			return false;
		}
		text++;
	}
	if (strlen(home) + strlen(text) >= k->sz) {
		snprintf(why, CONFIG_TEXT_SZ, "is longer than %zu bytes", k->sz - 1);
		return false;
	}
	memcpy(field, home, strlen(home));
	memcpy((char *)field + strlen(home), text, strlen(text) + 1);
	return true;
}

static bool parse_data_dir(const struct config_key *k, void *field, const char *text, char *why)
{
	/* Leave room for "/<network>/tower.key" and the like. */
	struct config_key room = *k;

	room.sz -= 64;
	if (!*text) {
		snprintf(why, CONFIG_TEXT_SZ, "is empty");
		return false;
	}
	return parse_path(&room, field, text, why);
}

static bool parse_bind(const struct config_key *k, void *field, const char *text, char *why)
{
	struct in6_addr a;

	if (inet_pton(AF_INET, text, &a) != 1 && inet_pton(AF_INET6, text, &a) != 1) {
		snprintf(why, CONFIG_TEXT_SZ, "is not an IPv4 or IPv6 address (names are not resolved here)");
		return false;
	}
	return parse_text(k, field, text, why);
}

static bool parse_network(const struct config_key *k, void *field, const char *text, char *why)
{
	const struct network *n = network_by_name(text);

	(void)k;
	if (!n) {
		snprintf(why, CONFIG_TEXT_SZ, "is none of main, testnet3, testnet4, signet, regtest");
		return false;
	}
	*(enum network_id *)field = n->id;
	return true;
}

static bool parse_chain_start(const struct config_key *k, void *field, const char *text, char *why)
{
	(void)k;
	if (strcmp(text, "tip") == 0) {
		*(enum config_chain_start *)field = CONFIG_START_TIP;
	} else if (strcmp(text, "anchor") == 0) {
		*(enum config_chain_start *)field = CONFIG_START_ANCHOR;
	} else {
		snprintf(why, CONFIG_TEXT_SZ, "is neither tip nor anchor");
		return false;
	}
	return true;
}

static bool parse_anchor(const struct config_key *k, void *field, const char *text, char *why)
{
	struct config *c = (struct config *)(void *)((char *)field - k->off);
	const char *colon = strchr(text, ':');
	char hex[HASH_HEX_SZ] = "";
	uint64_t height = 0;

	c->anchor.set = false;
	if (!*text)
		return true;
	if (colon && colon - text == HASH_HEX_SZ - 1)
		memcpy(hex, text, HASH_HEX_SZ - 1);
	if (!hash256_from_display(&c->anchor.hash, hex) || !number(colon + 1, INT32_MAX, &height)) {
		snprintf(why, CONFIG_TEXT_SZ,
			 "is not HASH:HEIGHT (64 hex digits as nodes print them, a colon, a "
			 "height)");
		return false;
	}
	c->anchor.height = (uint32_t)height;
	c->anchor.set = true;
	return true;
}

/* One `host`, `host:port`, `[v6]` or `[v6]:port`, with or without https:// before it. */
static bool parse_node(struct config_node *n, const char *text, size_t sz)
{
	static const char https[] = "https://";
	const char *host, *host_end, *port = NULL;
	char digits[8];
	uint64_t v = 0;

	n->tls = sz >= sizeof https - 1 && strncasecmp(text, https, sizeof https - 1) == 0;
	if (n->tls) {
		text += sizeof https - 1;
		sz -= sizeof https - 1;
	}
	host = text;

	if (sz > 0 && text[0] == '[') {
		host = text + 1;
		host_end = memchr(text, ']', sz);
		if (!host_end)
			return false;
		if (host_end + 1 < text + sz) {
			if (host_end[1] != ':')
				return false;
			port = host_end + 2;
		}
	} else {
		const char *colon = memchr(text, ':', sz);

		host_end = colon ? colon : text + sz;
		port = colon ? colon + 1 : NULL;
	}
	size_t host_sz = (size_t)(host_end - host);

	if (host_sz == 0 || host_sz >= sizeof n->host || memchr(host, ' ', host_sz))
		return false;
	memcpy(n->host, host, host_sz);
	n->host[host_sz] = '\0';
	n->port = 0;
	if (port) {
		size_t port_sz = (size_t)(text + sz - port);

		if (port_sz >= sizeof digits)
			return false;
		memcpy(digits, port, port_sz);
		digits[port_sz] = '\0';
		if (!number(digits, UINT16_MAX, &v) || v == 0)
			return false;
		n->port = (uint16_t)v;
	}
	return true;
}

static bool parse_nodes(const struct config_key *k, void *field, const char *text, char *why)
{
	struct config *c = (struct config *)(void *)((char *)field - k->off);

	c->node_cnt = 0;
	if (!*text)
		return true;
	for (;;) {
		size_t sz = strcspn(text, ","), pad = strspn(text, " \t");

		if (c->node_cnt == CONFIG_NODES_MAX) {
			snprintf(why, CONFIG_TEXT_SZ, "names more than %u nodes", CONFIG_NODES_MAX);
			return false;
		}
		if (pad > sz)
			pad = sz;
		size_t end = sz;

		while (end > pad && (text[end - 1] == ' ' || text[end - 1] == '\t'))
			end--;
		if (!parse_node(&c->nodes[c->node_cnt], text + pad, end - pad)) {
			snprintf(why, CONFIG_TEXT_SZ,
				 "is not a list of [https://]host:port, separated by commas");
			return false;
		}
		c->node_cnt++;
		if (!text[sz])
			return true;
		text += sz + 1;
	}
}

static bool parse_log_level(const struct config_key *k, void *field, const char *text, char *why)
{
	(void)k;
	if (log_level_parse((enum log_level *)field, text))
		return true;
	snprintf(why, CONFIG_TEXT_SZ, "is none of error, warn, info, debug");
	return false;
}

/* --- the table ---------------------------------------------------------------------------------------------- */

#define FIELD(f) offsetof(struct config, f), sizeof(((struct config *)0)->f)

const struct config_key config_keys[] = {
	{"tower", "network", parse_network, FIELD(network), 0, 0, "main",
	 "main|testnet3|testnet4|signet|regtest", "The Bitcoin network to watch."},
	{"tower", "data-dir", parse_data_dir, FIELD(data_dir), 0, 0, "~/.vigil", "path",
	 "Where the tower keeps its key and its store, in one directory per network; created with "
	 "mode 0700."},

	{"api", "bind", parse_bind, FIELD(api_bind), 0, 0, "127.0.0.1", "address",
	 "The address that clients reach."},
	{"api", "port", parse_u32, FIELD(api_port), 0, UINT16_MAX, "9814", "TCP port",
	 "The port that clients reach; 0 takes any free one and logs it."},
	{"api", "max-connections", parse_u32, FIELD(api_max_connections), 8, 65536, "1024", "connections",
	 "Connections served at a time; beyond it idle ones are closed, and what is too much is "
	 "answered 503."},
	{"api", "max-connections-per-ip", parse_u32, FIELD(api_max_connections_per_ip), 0, 65536, "0",
	 "connections",
	 "Connections served at a time for one address, more are closed; 0 is no limit (needed "
	 "behind a proxy or Tor)."},
	{"api", "threads", parse_u32, FIELD(api_threads), 1, 64, "2", "threads",
	 "Threads that read requests and check their signatures."},
	{"api", "timeout", parse_u32, FIELD(api_timeout_s), 1, 3600, "15", "seconds",
	 "A connection that stays silent for so long is closed."},
	{"api", "body-limit", parse_u32, FIELD(api_body_limit), 2048, 16u << 20, "1048576", "bytes",
	 "The largest add_appointment body taken; larger ones are answered 413."},

	{"link", "socket", parse_path, FIELD(link_socket), 0, 0, "", "path",
	 "The Unix socket of vigil-dataplane; empty is link.sock in the network's directory."},

	{"chain", "start", parse_chain_start, FIELD(chain_start), 0, 0, "tip", "tip|anchor",
	 "Where a new tower begins: at the best tip, or with every block above the anchor.  With "
	 "no "
	 "anchor set that is the whole chain from genesis, a long scan on main."},
	{"chain", "anchor", parse_anchor, FIELD(anchor), 0, 0, "", "HASH:HEIGHT",
	 "A block that is known to be good, headers are followed from there; empty is the genesis "
	 "block."},

	{"control", "socket", parse_path, FIELD(control_socket), 0, 0, "", "path",
	 "The Unix socket of vigil-cli; empty is control.sock in the network's directory."},

	{"teos", "subscription-slots", parse_u32, FIELD(subscription_slots), 1, UINT32_MAX, "10000",
	 "slots of 2048 bytes", "Slots that one registration gives."},
	{"teos", "subscription-duration", parse_u32, FIELD(subscription_duration), 1, UINT32_MAX, "4320",
	 "blocks", "Blocks that one registration lasts."},
	{"teos", "expiry-delta", parse_u32, FIELD(expiry_delta), 0, UINT32_MAX, "6", "blocks",
	 "Blocks after its expiry for which a subscription's data is kept and watched."},

	{"teos", "min-to-self-delay", parse_u32, FIELD(min_to_self_delay), 0, UINT32_MAX, "20", "blocks",
	 "The smallest to_self_delay taken from a legacy client; current clients are not held to "
	 "it."},
	{"teos", "max-appointments", parse_u32, FIELD(max_appointments), 0, UINT32_MAX, "0", "appointments",
	 "While so many are watched no more are taken: clients keep theirs and try again; 0 is no limit."},

	{"rpc", "connect", parse_nodes, FIELD(nodes), 0, 0, "", "[https://]host:port[,...]",
	 "Nodes whose JSON-RPC gets every penalty too and gives a verdict on it, [IPv6] in brackets; https:// "
	 "for "
	 "one that speaks TLS, as btcd does; empty is none."},
	{"rpc", "user", parse_text, FIELD(rpc_user), 0, 0, "", "text[,text...]",
	 "User name for the nodes' RPC; or one for each node, separated by commas, and then rpc.password is "
	 "such a list too."},
	{"rpc", "password", parse_text, FIELD(rpc_password), 0, 0, "", "text",
	 "Password for the nodes' RPC; a file that holds it must not be readable by everybody."},
	{"rpc", "cookie-file", parse_path, FIELD(rpc_cookie_file), 0, 0, "", "path[,path...]",
	 "The node's cookie file, in place of user and password; read again whenever a node is asked anew or "
	 "refuses it.  With "
	 "several nodes a list, an item for each: an empty one has user and password."},
	{"rpc", "certificate", parse_path, FIELD(rpc_certificate), 0, 0, "", "path",
	 "Whom to trust over https://: a file with the nodes' own certificates (btcd: rpc.cert) or their "
	 "issuers', in PEM; empty is whom the system trusts."},
	{"rpc", "timeout-ms", parse_u32, FIELD(rpc_timeout_ms), 100, 600000, "10000", "milliseconds",
	 "How long one RPC may take."},

	{"broadcast", "rebroadcast-blocks", parse_u32, FIELD(rebroadcast_blocks), 1, 1000, "6", "blocks",
	 "A penalty that is not yet in a block is sent again at least this often."},

	{"broadcast", "overdue-depth", parse_u32, FIELD(overdue_depth), 0, 1000, "6", "blocks",
	 "A dispute so deep without its penalty in a block is escalated: logged, told to alert.command, and "
	 "the penalty "
	 "is sent after every block; again each time the depth doubles.  0 is never."},

	{"tor", "control", parse_text, FIELD(tor_control), 0, 0, "", "address:port or path",
	 "Tor's control port or socket (often 127.0.0.1:9051): the API becomes an onion service too, for as "
	 "long as "
	 "vigild runs; its key is onion_v3_sk in the network's directory; empty is none."},
	{"tor", "onion-port", parse_u32, FIELD(tor_onion_port), 1, UINT16_MAX, "9814", "TCP port",
	 "The port of the onion service."},
	{"tor", "password", parse_text, FIELD(tor_password), 0, 0, "", "text",
	 "For a Tor with HashedControlPassword; a file that holds it must not be readable by everybody; empty "
	 "is the cookie "
	 "file."},
	{"tor", "cookie-file", parse_path, FIELD(tor_cookie_file), 0, 0, "", "path",
	 "Tor's authentication cookie; empty is where Tor says it is.  vigild must be allowed to read it (the "
	 "group of "
	 "Tor's user, often debian-tor)."},

	{"alert", "command", parse_text, FIELD(alert_command), 0, 0, "", "/path/of/program [argument...]",
	 "Run when a penalty is overdue or refused for good, or a node is lost for a minute; without a shell, "
	 "told what "
	 "happened in VIGIL_... environment variables; empty is none."},
	{"alert", "interval", parse_u32, FIELD(alert_interval_s), 1, 86400, "10", "seconds",
	 "At least so long from one run of the alert command to the next; 64 events wait, the rest is "
	 "counted."},
	{"alert", "timeout", parse_u32, FIELD(alert_timeout_s), 1, 3600, "30", "seconds",
	 "A run of the alert command that takes longer is stopped."},

	{"metrics", "bind", parse_bind, FIELD(metrics_bind), 0, 0, "127.0.0.1", "address",
	 "Where Prometheus finds the metrics, in clear and without a password: keep it on loopback or a "
	 "private "
	 "network."},
	{"metrics", "port", parse_u32, FIELD(metrics_port), 0, UINT16_MAX, "0", "TCP port",
	 "The port of GET /metrics; 0 serves none."},

	{"log", "level", parse_log_level, FIELD(log_level), 0, 0, "info", "error|warn|info|debug",
	 "The least important lines that are still written."},
	{"log", "file", parse_path, FIELD(log_file), 0, 0, "", "path",
	 "Where the log goes; empty is standard error.  SIGHUP opens it again under its name."},
	{"log", "slow-ms", parse_u32, FIELD(slow_ms), 0, 3600000, "1000", "milliseconds",
	 "Blocks, requests, syncs and RPCs that take so long are kept for getslowlog and logged; 0 keeps "
	 "none."},
};

const unsigned config_key_cnt = sizeof config_keys / sizeof config_keys[0];

_Static_assert(sizeof config_keys / sizeof config_keys[0] <= CONFIG_KEYS_MAX, "struct config_load has room");

int config_key_find(const char *section, const char *name, bool *section_known)
{
	*section_known = false;
	for (unsigned i = 0; i < config_key_cnt; i++) {
		if (strcmp(config_keys[i].section, section) != 0)
			continue;
		*section_known = true;
		if (strcmp(config_keys[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}
