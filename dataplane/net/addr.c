#include "net/net.h"

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
