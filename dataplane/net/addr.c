#include "net/net_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool parse_port(uint16_t *port, const char *s)
{
	unsigned v = 0;
	size_t i = 0;

	for (; s[i] >= '0' && s[i] <= '9' && i < 5; i++)
		v = v * 10 + (unsigned)(s[i] - '0');
	if (i == 0 || s[i] != '\0' || v == 0 || v > UINT16_MAX)
		return false;
	*port = (uint16_t)v;
	return true;
}

bool net_addr_parse(struct net_addr *a, const char *text, uint16_t default_port)
{
	const char *first = strchr(text, ':');
	const char *port = NULL; /* what follows the colon of the port */
	const char *host = text;
	const char *end;
	char buf[INET6_ADDRSTRLEN];
	size_t sz;
	int family = AF_INET;

	if (text[0] == '[') {
		family = AF_INET6;
		host = text + 1;
		end = strchr(host, ']');
		if (end == NULL)
			return false;
		if (end[1] == ':')
			port = end + 2;
		else if (end[1] != '\0')
			return false;
	} else if (first != NULL && strchr(first + 1, ':') != NULL) {
		family = AF_INET6; /* bare: a port would be ambiguous, so there is none */
		end = text + strlen(text);
	} else if (first != NULL) {
		end = first;
		port = first + 1;
	} else {
		end = text + strlen(text);
	}

	sz = (size_t)(end - host);
	if (sz >= sizeof(buf))
		return false;
	memcpy(buf, host, sz);
	buf[sz] = '\0';
	memset(a, 0, sizeof(*a));
	a->port = default_port;
	if (family == AF_INET)
		memcpy(a->ip, v4_mapped, sizeof(v4_mapped));
	if (inet_pton(family, buf, family == AF_INET ? a->ip + 12 : a->ip) != 1)
		return false;
	return port == NULL || parse_port(&a->port, port);
}

void net_addr_format(char out[NET_ADDR_TEXT_SZ], const struct net_addr *a)
{
	char buf[INET6_ADDRSTRLEN] = "?";

	if (memcmp(a->ip, v4_mapped, sizeof(v4_mapped)) == 0) {
		inet_ntop(AF_INET, a->ip + 12, buf, sizeof(buf));
		snprintf(out, NET_ADDR_TEXT_SZ, "%s:%u", buf, a->port);
	} else {
		inet_ntop(AF_INET6, a->ip, buf, sizeof(buf));
		snprintf(out, NET_ADDR_TEXT_SZ, "[%s]:%u", buf, a->port);
	}
}

static bool is_zero(const uint8_t *p, size_t sz)
{
	for (size_t i = 0; i < sz; i++)
		if (p[i] != 0)
			return false;
	return true;
}

static bool parse_prefix(uint8_t *len, const char *s, unsigned min, unsigned max)
{
	unsigned v = 0;
	size_t i = 0;

	for (; s[i] >= '0' && s[i] <= '9' && i < 3; i++)
		v = v * 10 + (unsigned)(s[i] - '0');
	if (i == 0 || s[i] != '\0' || (s[0] == '0' && i > 1) || v < min || v > max)
		return false;
	*len = (uint8_t)v;
	return true;
}

/* The family of a bare address: 0 when it is none. */
static int parse_bare(struct net_addr *a, const char *text)
{
	if (inet_pton(AF_INET, text, a->ip) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, text, a->ip) == 1 ? AF_INET6 : 0;
}

bool net_config_address(struct net_config *c, const char *text)
{
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN];
	struct net_addr a;
	int family;

	if (slash == NULL || (size_t)(slash - text) >= sizeof(host))
		return false;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	family = parse_bare(&a, host);
	if (family == AF_INET && is_zero(c->ip4, sizeof(c->ip4)) &&
	    parse_prefix(&c->prefix_len, slash + 1, 1, 30)) {
		memcpy(c->ip4, a.ip, sizeof(c->ip4));
		return !is_zero(c->ip4, sizeof(c->ip4));
	}
	if (family == AF_INET6 && is_zero(c->ip6, sizeof(c->ip6)) &&
	    parse_prefix(&c->prefix6_len, slash + 1, 64, 128)) {
		memcpy(c->ip6, a.ip, sizeof(c->ip6));
		return !is_zero(c->ip6, sizeof(c->ip6));
	}
	return false;
}

bool net_config_gateway(struct net_config *c, const char *text)
{
	struct net_addr a;
	int family = parse_bare(&a, text);

	if (family == AF_INET && is_zero(c->gateway4, sizeof(c->gateway4))) {
		memcpy(c->gateway4, a.ip, sizeof(c->gateway4));
		return !is_zero(c->gateway4, sizeof(c->gateway4));
	}
	if (family == AF_INET6 && is_zero(c->gateway6, sizeof(c->gateway6))) {
		memcpy(c->gateway6, a.ip, sizeof(c->gateway6));
		return !is_zero(c->gateway6, sizeof(c->gateway6));
	}
	return false;
}

bool net_ip6_is_zero(const uint8_t a[16])
{
	return is_zero(a, 16);
}

bool net_ip6_is_link_local(const uint8_t a[16])
{
	return a[0] == 0xfe && (a[1] & 0xc0) == 0x80;
}

bool net_ip6_is_unicast(const uint8_t a[16])
{
	/* The first 80 bits of all that stand for something else are zeros: ::, ::1, ::a.b.c.d and the mapped form. */
	return a[0] != 0xff && !is_zero(a, 10);
}

bool net_ip6_same_prefix(const uint8_t a[16], const uint8_t b[16], unsigned len)
{
	unsigned whole = len / 8;

	return memcmp(a, b, whole) == 0 && (len % 8 == 0 || ((a[whole] ^ b[whole]) >> (8 - len % 8)) == 0);
}

bool net_ip6_on_link(const struct net_own *own, const uint8_t a[16])
{
	return net_ip6_is_link_local(a) || (!net_ip6_is_zero(own->ip6[IP6_CONFIGURED]) &&
					    net_ip6_same_prefix(a, own->ip6[IP6_CONFIGURED], own->prefix6_len));
}
