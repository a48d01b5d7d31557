/* subscription.c - get_subscription_info: a user's balance and the locators the tower holds for it.

   A user may own hundreds of thousands of appointments, so the state thread collects their locators in pages, one
   in each turn of its loop: a block is never kept waiting for a list. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "teos/receipt.h"
#include "teos/sig.h"

#define PAGE_CNT 2000u

enum api_code api_subscription_check(struct api_call *c)
{
	static const char msg[] = RECEIPT_SUBSCRIPTION_MESSAGE;
	const struct api_signature *s = &c->req.sig;

	if (s->sz == SIG_ZB_SZ &&
	    sig_recover(&c->user, s->text, SIG_ZB_SZ, (const uint8_t *)msg, sizeof msg - 1))
		return API_OK;
	return api_refuse(c, API_AUTH_OR_SUBSCRIPTION, "Invalid signature or subscription error");
}

static bool on_locator(void *arg, const struct locator *l, const struct uuid *id)
{
	struct api_call *c = arg;

	(void)id;
	memcpy(c->data + c->data_sz, l->b, LOCATOR_SZ);
	c->data_sz += LOCATOR_SZ;
	return true;
}

static bool room_for_page(struct api_call *c)
{
	size_t want = c->data_sz + (size_t)PAGE_CNT * LOCATOR_SZ, cap = 2 * c->data_cap;
	uint8_t *p;

	if (want <= c->data_cap)
		return true;
	p = realloc(c->data, cap > want ? cap : want);
	if (!p)
		return false;
	c->data = p;
	c->data_cap = cap > want ? cap : want;
	return true;
}

/* Appointments that come or go between two pages may be in the list or not. */
bool api_subscription_run(struct api_call *c)
{
	struct locator last;
	uint32_t n;

	if (!c->listing) {
		enum tower_status st = api_known_user(c);

		if (st != TOWER_OK) {
			api_refuse_status(c, st, c->expired ? "Your subscription has expired" : NULL);
			return false;
		}
		c->listing = true;
	}
	if (!room_for_page(c)) {
		api_refuse(c, API_SERVICE_UNAVAILABLE, "out of memory");
		return false;
	}
	if (c->data_sz > 0)
		memcpy(last.b, c->data + c->data_sz - LOCATOR_SZ, LOCATOR_SZ);
	n = tower_each_appointment_of_user(c->api->tower, &c->user, c->data_sz > 0 ? &last : NULL, PAGE_CNT,
					   on_locator, c);
	if (n < PAGE_CNT)
		return false;
	api_call_again(c);
	return true;
}

/* "name":["..",".."] as bytes: a list of 100,000 is not worth a tree of JSON values. */
static char *put_list(char *p, const struct api_call *c)
{
	for (size_t at = 0; at < c->data_sz; at += LOCATOR_SZ) {
		if (at > 0)
			*p++ = ',';
		*p++ = '"';
		hex_encode(p, c->data + at, LOCATOR_SZ);
		p += (size_t)2 * LOCATOR_SZ;
		*p++ = '"';
	}
	return p;
}

char *api_subscription_reply(struct api_call *c)
{
	size_t cap = 256 + c->data_sz / LOCATOR_SZ * (2 * LOCATOR_SZ + 3);
	bool legacy = c->generation == CLIENT_LEGACY;
	char *text = malloc(cap), *p = text;

	if (!text)
		return NULL;
	if (legacy)
		p += snprintf(p, cap, "{\"subscription_expiry\":%u,\"available_slots\":%u,\"appointments\":[",
			      c->info.subscription_expiry, c->info.available_slots);
	else
		p += snprintf(p, cap, "{\"available_slots\":%u,\"subscription_expiry\":%u,\"locators\":[",
			      c->info.available_slots, c->info.subscription_expiry);
	p = put_list(p, c);
	memcpy(p, "]}", 3);
	return text;
}
