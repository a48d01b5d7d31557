/* refusal.h - how a refusal is told, for each generation of clients (spec/teos.md sections 7.4 and 7.6).

   Inside the API every refusal is a code of the current generation and the field it was found at.  A legacy caller is
   told from its own table; a caller is legacy by the tag of its registration, or, before that is known, by its
   User-Agent (section 7.1).
   Threads  Pure, any thread. */
#ifndef VIGIL_API_REFUSAL_H
#define VIGIL_API_REFUSAL_H

#include <stdbool.h>

#include "api/decode.h"

struct api_refusal {
	enum api_endpoint endpoint; /* API_ENDPOINT_CNT: no endpoint of ours */
	enum client_generation generation;
	struct api_problem problem;
	unsigned transport_status; /* 405, 411, 413, 415; 0: the code decides */
	bool expired;              /* the caller is known, and only its subscription has run out */
	const char *sent_locator;  /* as api_request has it; NULL: locator_text holds its digits */
	const char *locator_text;
};

/* The HTTP status. */
unsigned api_refusal_status(const struct api_refusal *r);
/* The error_code as the client sees it; 0 where its generation has none. */
int api_refusal_code(const struct api_refusal *r);
/* The JSON body, malloc'ed; NULL when memory is out. */
char *api_refusal_body(const struct api_refusal *r);

#endif
