#include "client/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

enum { ANSWER_MAX = 1 << 20, CONNECT_TIMEOUT_S = 5, TIMEOUT_S = 60, RETRY_NS = 50000000 };

struct http {
	CURL *curl;
	struct curl_slist *headers;
	char base[512];
	char error[CURL_ERROR_SIZE];
	uint64_t wait_ns;
	char *text;
	size_t text_sz, text_cap;
};

uint64_t client_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int http_setup(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -1;
}

static size_t take(char *p, size_t one, size_t cnt, void *arg)
{
	struct http *h = arg;
	size_t sz = one * cnt;

	if (sz > ANSWER_MAX - h->text_sz)
		return 0; /* ends the transfer */
	if (sz > h->text_cap - h->text_sz) {
		size_t cap = 2 * (h->text_sz + sz);
		char *text = realloc(h->text, cap);

		if (!text)
			return 0;
		h->text = text;
		h->text_cap = cap;
	}
	memcpy(h->text + h->text_sz, p, sz);
	h->text_sz += sz;
	return sz;
}

struct http *http_open(const char *base, const char *agent, uint64_t wait_ns)
{
	struct http *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->wait_ns = wait_ns;
	h->curl = curl_easy_init();
	h->headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!h->curl || !h->headers ||
	    (size_t)snprintf(h->base, sizeof(h->base), "%s", base) >= sizeof(h->base)) {
		http_close(h);
		return NULL;
	}
	curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers);
	curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
	curl_easy_setopt(h->curl, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->error);
	curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, h);
	if (agent)
		curl_easy_setopt(h->curl, CURLOPT_USERAGENT, agent);
	return h;
}

void http_close(struct http *h)
{
	if (!h)
		return;
	curl_easy_cleanup(h->curl);
	curl_slist_free_all(h->headers);
	free(h->text);
	free(h);
}

static void post_once(struct http *h, const char *url, const char *body, struct http_answer *out)
{
	uint64_t start = client_now_ns();
	CURLcode rc;

	memset(out, 0, sizeof(*out));
	h->text_sz = 0;
	h->error[0] = '\0';
	curl_easy_setopt(h->curl, CURLOPT_URL, url);
	curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
	rc = curl_easy_perform(h->curl);
	out->took_ns = client_now_ns() - start;
	if (rc != CURLE_OK) {
		snprintf(out->why, sizeof(out->why), "%s", h->error[0] ? h->error : curl_easy_strerror(rc));
		return;
	}
	curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &out->status);
	out->body = json_loadb(h->text ? h->text : "", h->text_sz, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(out->body)) {
		json_decref(out->body);
		out->body = NULL;
		snprintf(out->why, sizeof(out->why), "the answer is not a JSON object");
	}
}

void http_post(struct http *h, const char *path, const char *body, struct http_answer *out)
{
	uint64_t end = client_now_ns() + h->wait_ns;
	const struct timespec pause = {0, RETRY_NS};
	char url[600];

	snprintf(url, sizeof(url), "%s%s", h->base, path);
	for (;;) {
		post_once(h, url, body, out);
		if ((out->status != 0 && out->status != 503) || client_now_ns() >= end)
			return;
		json_decref(out->body);
		nanosleep(&pause, NULL);
	}
}
