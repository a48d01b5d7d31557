#include "txid/txid_priv.h"

/* Slowest first, by measurement on machines that have them all, not by the width of their registers. */
static const struct txid_kernel *const kernels[] = {
	&txid_portable,
#ifdef VIGIL_HAVE_SHANI
	&txid_shani,
	&txid_shani4,
#endif
};

#define KERNEL_CNT (sizeof(kernels) / sizeof(kernels[0]))

const struct txid_kernel *const *txid_kernels(size_t *cnt)
{
	*cnt = KERNEL_CNT;
	return kernels;
}

const struct txid_kernel *txid_select(unsigned features, const char *name_or_null, const char **why)
{
	const struct txid_kernel *best = NULL;
	bool named = false;

	for (size_t i = 0; i < KERNEL_CNT; i++) {
		if (name_or_null != NULL && strcmp(kernels[i]->name, name_or_null) != 0)
			continue;
		named = true;
		if ((kernels[i]->need & ~features) == 0)
			best = kernels[i];
	}
	if (best == NULL) {
		*why = named ? "this CPU lacks what the txid kernel needs"
			     : "no txid kernel of that name is compiled in";
		return NULL;
	}
	if (!txid_selftest(best)) {
		*why = "the txid kernel gives wrong hashes on this machine";
		return NULL;
	}
	return best;
}
