/* generations.c - a bank keeps its books in [now], a generation a day; one day they don't balance. Which, and what was it? */
#include "generations.h"
#include "work.h"

#define ACCOUNTS 32768u
#define DAYS 100u
#define MONEY 1000ul

static uint64_t *const books = (uint64_t *)NOW_VA;

/* The mistake: when both are the same account, the second write undoes the first. */
static void transfer(unsigned from, unsigned to, uint64_t sum)
{
	uint64_t a = books[from], b = books[to];

	books[from] = a - sum;
	books[to] = b + sum;
}

static void transfer_mended(unsigned from, unsigned to, uint64_t sum)
{
	books[from] -= sum;
	books[to] += sum;
}

static void day(unsigned n, void (*how)(unsigned, unsigned, uint64_t))
{
	unsigned from = n * 40503 % ACCOUNTS, to = (from + (n + 39) % DAYS * 97) % ACCOUNTS;

	how(from, to, n);
}

/* What is in the books of that generation: the same function for the present and for the past. */
static uint64_t total(unsigned generation)
{
	const volatile uint64_t *old = generation_at(books, generation);
	uint64_t sum = 0;

	for (unsigned i = 0; i < ACCOUNTS; i++)
		sum += old[i];
	return sum;
}

static uint64_t frames(void) { return fh_owned(env_view()->account); }

void layout_work(void)
{
	unsigned good = 1, bad, looks = 0;
	uint32_t page[4] = {0};
	bool kept;

	for (unsigned i = 0; i < ACCOUNTS; i++)
		books[i] = MONEY;
	kept = generation_keep() == 1; /* generation n + 1: the evening of day n */
	uint64_t before = frames();
	for (unsigned n = 1; n <= DAYS; n++) {
		day(n, transfer);
		kept &= generation_keep() == (int)n + 1;
	}
	check(kept, "%u days of a bank with %u accounts in %lu pages, kept at %#lx and so on: %lu frames for all of them", DAYS,
	      ACCOUNTS, ACCOUNTS * sizeof(*books) / FH_PAGE, NOW_VA + GENERATION_BYTES, frames() - before);
	check(total(0) != ACCOUNTS * MONEY, "the books don't balance: %lu, should be %lu", total(0), ACCOUNTS * MONEY);
	for (bad = DAYS + 1; bad - good > 1; looks++) { /* good balanced, bad did not */
		unsigned middle = (good + bad) / 2;
		*(total(middle) == ACCOUNTS * MONEY ? &good : &bad) = middle;
	}
	size_t pages = generations_differ(good, bad, page, 4);
	check(pages == 1, "%u looks into the past: it was day %u, which changed %lu page, at %#lx", looks, bad - 1, pages,
	      NOW_VA + page[0] * FH_PAGE);
	for (unsigned i = page[0] * 512; i < page[0] * 512 + 512; i++) {
		const volatile uint64_t *was = generation_at(books + i, good), *is = generation_at(books + i, bad);
		if (*was != *is)
			check(*is == *was + bad - 1, "account %u had %lu, then %lu: it paid itself", i, *was, *is);
	}
	check(generation_return(good) == 0 && total(0) == ACCOUNTS * MONEY, "back to the evening before: the books balance");
	for (unsigned n = bad - 1; n <= DAYS; n++)
		day(n, transfer_mended);
	check(total(0) == ACCOUNTS * MONEY, "the same days again with the mistake mended: they still do");
	uint64_t full = frames();
	for (unsigned i = generation_last(); i > 0; i--)
		generation_forget(i);
	check(generation_last() == 0, "the past forgotten: %lu frames back", full - frames());
}
