/* decode.h - bodies of the TEOS HTTP API: bytes to a request, or to the first problem in them (spec/teos.md
   section 7.4).  Both generations of clients send the same fields, except that a legacy client registers with
   `public_key`; what differs is how a problem is told (refusal.h).

   Threads  Pure functions, any thread.
   Memory   A decoded request owns its blob and sent_locator; release it with api_request_free.  Nothing else is allocated, and never
            more than the body's own size.
   Cost     Linear in the body. */
#ifndef VIGIL_API_DECODE_H
#define VIGIL_API_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "btc/hash.h"
#include "tower/tower.h"

/* The error codes of the current generation, inside the API also those of requests from legacy clients. */
enum api_code {
	API_OK = 0,
	API_MISSING_FIELD = 1,
	API_EMPTY_FIELD = 2,
	API_WRONG_FIELD_TYPE = 3,
	API_WRONG_FIELD_SIZE = 4,
	API_WRONG_FIELD_FORMAT = 5,
	API_INVALID_REQUEST_FORMAT = 6,
	API_AUTH_OR_SUBSCRIPTION = 7,
	API_SERVICE_UNAVAILABLE = 32,
	API_TOO_SMALL = 33, /* legacy: a delay below the minimum */
	API_TOO_BIG = 34,
	API_ALREADY_TRIGGERED = 35,
	API_NOT_FOUND = 36,
	API_REGISTRATION_EXHAUSTED = 65,
	API_UNEXPECTED = 255
};

enum api_endpoint {
	API_REGISTER,
	API_ADD_APPOINTMENT,
	API_GET_APPOINTMENT,
	API_GET_SUBSCRIPTION_INFO,
	API_PING,
	API_ENDPOINT_CNT
};

/* A signature as it came.  Only a text of exactly SIG_ZB_SZ characters can be one; what is longer is cut, and sz tells. */
struct api_signature {
	char text[SIG_ZB_SZ];
	size_t sz;
};

/* The field a problem was found at. */
enum api_field {
	API_AT_BODY, /* the text as a whole, or something in it that belongs to no field */
	API_AT_USER_ID,
	API_AT_PUBLIC_KEY,
	API_AT_APPOINTMENT,
	API_AT_LOCATOR,
	API_AT_BLOB,
	API_AT_DELAY,
	API_AT_SIGNATURE
};

struct api_problem {
	enum api_code code;
	enum api_field at;
	const char *why; /* for people; static */
};

struct api_request {
	enum api_endpoint endpoint;
	struct user_id user;               /* register: as given, not yet known to be a point */
	enum client_generation generation; /* register: by the name of its field */
	struct locator locator;            /* add_appointment, get_appointment */
	char locator_text[2 * LOCATOR_SZ]; /* its digits as received: legacy clients sign them */
	uint8_t *blob;                     /* add_appointment; NULL when empty */
	uint32_t blob_sz;
	uint32_t to_self_delay;
	struct api_signature sig; /* all but register */
	/* get_appointment of a legacy caller: the locator as the JSON it came as, whatever it was; "null" if it did not come. */
	char *sent_locator;
};

/* Decodes the body of a POST.  API_OK, or the first problem (also in *p) and *out empty.  API_UNEXPECTED only when
   memory is out.  ep must not be API_PING. */
enum api_code api_decode(enum api_endpoint ep, const void *body, size_t sz, struct api_request *out,
			 struct api_problem *p);

/* The same for a caller that looks legacy: add_appointment and get_appointment are judged in the order of that tower
   (locator, delay, blob, signature), the others as above.  min_delay: a smaller delay is told before a wrong blob.  A delay
   that is only too small, and an empty blob, are no problem yet: the user may turn out to be a current one.
   What is no signature is an empty one.  After a problem *out still owns sent_locator. */
enum api_code api_decode_legacy(enum api_endpoint ep, const void *body, size_t sz, uint32_t min_delay,
				struct api_request *out, struct api_problem *p);

void api_request_free(struct api_request *r);

#endif
