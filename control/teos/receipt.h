/* receipt.h - the byte strings that get signed (spec/teos.md sections 5.1 to 5.3), for both generations of clients.

   Threads  Pure functions, any thread.
   Order    Integers are four bytes, most significant first. */
#ifndef VIGIL_TEOS_RECEIPT_H
#define VIGIL_TEOS_RECEIPT_H

#include "btc/hash.h"
#include "teos/ids.h"

/* --- signed by the user ------------------------------------------------------------------------------------ */

/* locator || blob || to_self_delay: LOCATOR_SZ + blob_sz + 4 bytes at out.  Returns that size. */
size_t receipt_add_message(uint8_t *out, const struct locator *l, const uint8_t *blob, uint32_t blob_sz,
			   uint32_t to_self_delay);

/* "get appointment " and the 32 digits of the locator.  text is what the client sent (its case counts for legacy
   clients, section 5.1), or NULL for the lower-case form of l. */
#define RECEIPT_GET_SZ 48u
void receipt_get_message(char out[RECEIPT_GET_SZ], const struct locator *l, const char *text);

#define RECEIPT_SUBSCRIPTION_MESSAGE "get subscription info"

/* --- signed by the tower ----------------------------------------------------------------------------------- */

#define RECEIPT_REGISTRATION_MAX 45u
/* 41 bytes for a legacy client, 45 for a current one; available_slots is the balance after the registration. */
size_t receipt_registration(uint8_t out[RECEIPT_REGISTRATION_MAX], enum client_generation gen,
			    const struct user_id *user, uint32_t available_slots, uint32_t start,
			    uint32_t expiry);

#define RECEIPT_APPOINTMENT_MAX 108u
/* Current: the text of the user's signature exactly as received, then start_block.  Legacy: its 65 decoded bytes
   instead.  0 if the text does not fit, or (legacy) is not a signature. */
size_t receipt_appointment(uint8_t out[RECEIPT_APPOINTMENT_MAX], enum client_generation gen,
			   const char *user_sig, size_t user_sig_len, uint32_t start_block);

#endif
