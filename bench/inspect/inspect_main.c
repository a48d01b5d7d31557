/* The command line of inspect: files in, JSON or text out. */
#include "inspect/inspect.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>

#include "blkfile/blkfile.h"

struct inspect_run {
	const char *cmd;
	bool json;
	const struct network *net; /* given by the user, or NULL */
	const struct txid_kernel *kernel;
	struct inspect_scratch *scratch;
	size_t printed_cnt;
};

static const char usage[] =
	"usage: %s [--json] [--network NAME] FILE...\n"
	"\n"
	"Reports the blocks in each FILE, in file order.  A FILE is one raw block, a blk*.dat\n"
	"of a Bitcoin node (read through the key of xor.dat where that lies beside it), or a\n"
	"chain that vigil-replay synth wrote.\n"
	"\n"
	"  --json          an array of objects instead of text\n"
	"  --network NAME  main, testnet3, testnet4, signet or regtest.  Without it the magic\n"
	"                  bytes of the file decide; a raw block has none, so its difficulty\n"
	"                  decides which limit it must keep, and its height is given only\n"
	"                  where the rule of BIP34 holds on every network\n"
	"  --help          this text\n"
	"\n"
	"Exit status: 0, 1 if a file or a block was bad, 2 for wrong usage.\n";

static json_t *display(const struct hash256 *h)
{
	char hex[HASH_HEX_SZ];

	hash256_to_display(hex, h);
	return json_string(hex);
}

static json_t *plain_hex(const struct hash256 *h)
{
	char hex[HASH_HEX_SZ];

	hex_encode(hex, h->b, HASH_SZ);
	return json_string(hex);
}

/* The keys in the order in which they are printed; NULL when out of memory. */
static json_t *facts_json(const char *file, const struct inspect_facts *f)
{
	json_t *o = json_object();
	int bad = 0;

	bad |= json_object_set_new(o, "file", json_string(file));
	bad |= json_object_set_new(o, "height_from_bip34",
				   f->bip34_height < 0 ? json_null() : json_integer(f->bip34_height));
	bad |= json_object_set_new(o, "block_hash", display(&f->block_hash));
	bad |= json_object_set_new(o, "prev_hash", display(&f->prev_hash));
	bad |= json_object_set_new(o, "merkle_root", display(&f->merkle_root));
	bad |= json_object_set_new(o, "merkle_root_verifies", json_boolean(f->merkle_root_verifies));
	bad |= json_object_set_new(o, "merkle_mutated", json_boolean(f->merkle_mutated));
	bad |= json_object_set_new(o, "pow_valid", json_boolean(f->pow_valid));
	bad |= json_object_set_new(o, "tx_count", json_integer(f->view.tx_cnt));
	bad |= json_object_set_new(o, "total_bytes", json_integer(f->view.total_sz));
	bad |= json_object_set_new(o, "stripped_bytes", json_integer(f->view.stripped_sz));
	bad |= json_object_set_new(o, "weight", json_integer(f->view.weight));
	bad |= json_object_set_new(o, "first_txid", display(&f->first_txid));
	bad |= json_object_set_new(o, "last_txid", display(&f->last_txid));
	bad |= json_object_set_new(o, "sha256_of_txids", plain_hex(&f->sha256_of_txids));
	if (bad != 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static void print_text(const json_t *o, uint64_t off)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)o, key, value)
	{
		char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);

		printf("%-21s %s\n", key, text != NULL ? text : json_string_value(value));
		free(text);
		if (strcmp(key, "file") == 0)
			printf("%-21s %llu\n", "offset", (unsigned long long)off);
	}
}

static bool print_block(struct inspect_run *r, const char *file, uint64_t off, const struct inspect_facts *f)
{
	json_t *o = facts_json(file, f);

	if (o == NULL) {
		fprintf(stderr, "%s: out of memory, or a file name that is not UTF-8\n", r->cmd);
		return false;
	}
	if (r->json) {
		printf("%s", r->printed_cnt != 0 ? ",\n" : "");
		json_dumpf(o, stdout, JSON_INDENT(1));
	} else {
		printf("%s", r->printed_cnt != 0 ? "\n" : "");
		print_text(o, off);
	}
	r->printed_cnt++;
	json_decref(o);
	return true;
}

static bool inspect_records(struct inspect_run *r, const char *path, struct blkfile *f)
{
	const struct network *net = r->net != NULL ? r->net : blkfile_network(f);
	const char *slash = strrchr(path, '/');
	struct blkfile_rec rec;
	bool ok = true;

	while (blkfile_next(f, &rec)) {
		struct inspect_facts facts;
		enum parse_verdict v = inspect_block(r->kernel, net, rec.p, rec.sz, r->scratch, &facts);

		if (v != PARSE_OK) {
			fprintf(stderr, "%s: %s: block at byte %llu is malformed: %s\n", r->cmd, path,
				(unsigned long long)rec.off, parse_verdict_name(v));
			ok = false;
			continue;
		}
		ok &= print_block(r, slash != NULL ? slash + 1 : path, rec.off, &facts);
	}
	if (blkfile_garbage_sz(f) != 0) {
		fprintf(stderr, "%s: %s: %llu bytes belong to no sound block\n", r->cmd, path,
			(unsigned long long)blkfile_garbage_sz(f));
		ok = false;
	}
	return ok;
}

static bool inspect_file(struct inspect_run *r, const char *path)
{
	char why[BLKFILE_WHY_SZ];
	struct blkfile *f = blkfile_open(path, why);
	bool ok;

	if (f == NULL) {
		fprintf(stderr, "%s: %s: %s\n", r->cmd, path, why);
		return false;
	}
	if (r->net != NULL && blkfile_network(f) != NULL && r->net != blkfile_network(f)) {
		fprintf(stderr, "%s: %s: blocks of %s, not of %s\n", r->cmd, path, blkfile_network(f)->name,
			r->net->name);
		ok = false;
	} else {
		ok = inspect_records(r, path, f);
	}
	blkfile_close(f);
	return ok;
}

/* 0 to go on, else 1 + the exit status. */
static int options_read(struct inspect_run *r, int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
						{"network", required_argument, NULL, 'n'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	int opt;

	optind = 0; /* getopt may have run for the program's own options: start over */
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			r->json = true;
			break;
		case 'n':
			r->net = network_by_name(optarg);
			if (r->net == NULL) {
				fprintf(stderr, "%s: --network: no network is called '%s'\n", r->cmd, optarg);
				return 1 + 2;
			}
			break;
		case 'h':
			printf(usage, r->cmd);
			return 1 + 0;
		default:
			fprintf(stderr, usage, r->cmd);
			return 1 + 2;
		}
	}
	if (optind >= argc) {
		fprintf(stderr, usage, r->cmd);
		return 1 + 2;
	}
	return 0;
}

int inspect_main(int argc, char **argv)
{
	struct inspect_run r = {.cmd = "vigil-replay inspect"};
	const char *why = "out of memory";
	bool ok = true;
	int stop = options_read(&r, argc, argv);

	if (stop != 0)
		return stop - 1;
	r.kernel = txid_select(cpu_features(), NULL, &why);
	r.scratch = r.kernel != NULL ? malloc(sizeof(*r.scratch)) : NULL;
	if (r.scratch == NULL) {
		fprintf(stderr, "%s: %s\n", r.cmd, why);
		return 1;
	}
	if (r.json)
		printf("[\n");
	for (int i = optind; i < argc; i++)
		ok &= inspect_file(&r, argv[i]);
	if (r.json)
		printf("%s]\n", r.printed_cnt != 0 ? "\n" : "");
	free(r.scratch);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "%s: cannot write the report\n", r.cmd);
		ok = false;
	}
	return ok ? 0 : 1;
}
