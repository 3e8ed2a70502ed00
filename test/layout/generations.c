/* generations.c - the lines of the layout generations, a design of our own. */
#include <errno.h>
#include <string.h>

#include "generations.h"
#include "lines.h"

const unsigned lines_total = 9;

#define PAST(p, i) (*(volatile uint64_t *)generation_at((p), (i)))
static volatile uint64_t *const word = (volatile uint64_t *)NOW_VA;
#define PAGE_WORDS (FH_PAGE / sizeof(uint64_t))
#define PT1_WORDS (PLAN_LARGE / sizeof(uint64_t))

static void forget_all(void)
{
	for (unsigned i; (i = generation_last());)
		expect_is(generation_forget(i), 0, "generation %u goes", i);
}

/* ---- 1, 4 ---- */

static void past_is_there(void)
{
	/* In one page; in another; under another PT1; the last one of all. */
	const size_t at[] = {0, 1, PAGE_WORDS, PT1_WORDS, 300 * PT1_WORDS + 5, GENERATION_BYTES / sizeof(*word) - 1};
	const unsigned n = sizeof(at) / sizeof(at[0]);

	for (unsigned g = 1; g <= 5; g++) {
		for (unsigned i = 0; i < n; i++)
			if (g == 1 || (g + i) % 3) /* not all of them every time */
				word[at[i]] = g * 100 + i;
		expect_is(generation_keep(), g, "the number of a generation");
	}
	for (unsigned i = 0; i < n; i++)
		word[at[i]] = 9;
	for (unsigned i = 0; i < n; i++) {
		uint64_t want = 0;
		for (unsigned g = 1; g <= 5; g++) {
			want = g == 1 || (g + i) % 3 ? g * 100 + i : want;
			expect_is((int64_t)PAST(word + at[i], g), (int64_t)want, "word %#lx of generation %u", at[i], g);
		}
		expect_is((int64_t)word[at[i]], 9, "word %#lx now", at[i]);
	}
	expect_is((int64_t)generation_at(word, 3) - (int64_t)word, 3l << 30, "the distance of generation 3");
	forget_all();
}

static void zero(void)
{
	volatile uint64_t *fresh = word + 77 * PT1_WORDS;

	expect_is((int64_t)*fresh, 0, "a page never touched");
	fresh[1] = 5;
	int g = generation_keep();
	expect_is((int64_t)fresh[PAGE_WORDS], 0, "its neighbour, first read after a generation was kept");
	fresh[PAGE_WORDS] = 6;
	touch_begin();
	expect(reads(&PAST(fresh + 1, (unsigned)g)), "the page that was there is in the generation");
	expect(!reads(&PAST(fresh + PAGE_WORDS, (unsigned)g)), "the one touched later is not");
	touch_end();
	forget_all();
}

/* ---- 2 ---- */

static uint64_t cost(uint64_t *before)
{
	uint64_t now = frames_owned(), d = now - *before;

	*before = now;
	return d;
}

static void price(void)
{
	uint64_t n;
	volatile uint64_t *p = word + 20 * PT1_WORDS;

	for (unsigned i = 0; i < 3 * 512; i++)
		p[i * PAGE_WORDS] = i;
	generation_keep(); /* whatever the kit needs for the first time, it has now */
	for (unsigned i = 0; i < 3; i++)
		p[i * PT1_WORDS] = 1;
	n = frames_owned();
	generation_keep();
	expect_is((int64_t)cost(&n), 0, "keeping 6 MiB takes no frame: it");
	p[0] = 2;
	expect_is((int64_t)cost(&n), 3, "the first write after it: two tables and a page");
	p[1] = 2;
	expect_is((int64_t)cost(&n), 0, "to the same page");
	p[PAGE_WORDS] = 2;
	expect_is((int64_t)cost(&n), 1, "to its neighbour");
	p[PT1_WORDS] = 2;
	expect_is((int64_t)cost(&n), 2, "to a page 2 MiB away");
	expect_is((int64_t)p[2 * PT1_WORDS], 1, "a read");
	expect_is((int64_t)cost(&n), 0, "for a read");
	forget_all();
}

/* ---- 3 ---- */

static void read_only(void)
{
	word[0] = 1;
	generation_keep();
	generation_keep();
	touch_begin();
	expect(!writes(&PAST(word, 1)), "the present's own tables are the past's, too, and yet it can't be written there");
	word[0] = 2;
	for (unsigned g = 1; g <= 2; g++) {
		volatile uint64_t *old = &PAST(word, g);
		expect(reads(old) && !writes(old), "a write to generation %u is refused", g);
		expect_is((int64_t)touch_last.address, (int64_t)old, "address");
		expect_is((int64_t)(touch_last.error & (FAULT_PRESENT | FAULT_WRITE)), FAULT_PRESENT | FAULT_WRITE, "error code");
		expect_is((int64_t)*old, 1, "what is there");
	}
	expect(!reads(&PAST(word, 3)), "a generation that isn't kept can't be read");
	expect(!runs((const volatile char *)word), "nor can the present be executed");
	touch_end();
	expect(mm_failed(mm_map(NOW_VA + GENERATION_BYTES, FH_PAGE, RIGHT_R | RIGHT_W, MM_FIXED)), "nothing can be mapped over it");
	expect(mm_protect(NOW_VA + GENERATION_BYTES, FH_PAGE, RIGHT_R | RIGHT_W) < 0, "nor its rights changed");
	expect(mm_unmap(NOW_VA + GENERATION_BYTES, FH_PAGE) < 0, "nor taken away");
	forget_all();
}

/* ---- 5, 6 ---- */

static void go_back(void)
{
	for (unsigned g = 0; g <= 3; g++)
		word[g * PT1_WORDS] = 0;
	uint64_t before = frames_owned();
	for (unsigned g = 1; g <= 3; g++) {
		word[0] = g;
		word[g * PT1_WORDS] = 10 * g;
		generation_keep();
	}
	word[0] = 4;
	expect_is(generation_return(1), 0, "back to generation 1");
	expect_is((int64_t)word[0], 1, "the first word");
	expect_is((int64_t)word[PT1_WORDS], 10, "another");
	expect_is(generation_forget(1), 0, "1 goes: the present has its tables for itself now, but not all that is in them");
	expect(word[0] == 1 && word[PT1_WORDS] == 10, "and lost nothing by that");
	word[0] = 5;
	word[PT1_WORDS] = 6;
	expect_is((int64_t)word[2 * PT1_WORDS], 0, "one that was written later");
	word[2 * PT1_WORDS] = 7;
	for (unsigned g = 2; g <= 3; g++) {
		expect_is((int64_t)PAST(word, g), g, "the first word of generation %u", g);
		expect_is((int64_t)PAST(word + PT1_WORDS, g), 10, "another of it");
		expect_is((int64_t)PAST(word + 2 * PT1_WORDS, g), 20, "a third");
	}
	expect_is(generation_return(3), 0, "to a later one");
	expect_is((int64_t)word[0], 3, "the first word");
	expect_is(generation_keep(), 4, "the number of the next");
	expect_returns(generation_return(1), -ENOENT, "to one that is gone");
	expect_returns(generation_return(0), -ENOENT, "to the present");
	expect_returns(generation_return(GENERATIONS + 1), -ENOENT, "to one that can't be");
	expect_returns(generation_forget(1), -ENOENT, "forgetting one that is gone");
	forget_all();
	expect_is((int64_t)frames_owned(), (int64_t)before, "frames, in the end");
}

static void books_balance(void)
{
	enum { N = 12 };
	bool gone[N + 1] = {0};
	uint64_t wrong = 0;

	word[PT1_WORDS] = 1; /* the tables that the present needs anyway */
	for (unsigned i = 0; i < 64; i++)
		word[i * PAGE_WORDS] = 1;
	uint64_t before = frames_owned();
	for (unsigned g = 1; g <= N; g++) {
		generation_keep();
		word[g * PAGE_WORDS] = word[g % 2 * PT1_WORDS] = g + 1;
	}
	expect(frames_owned() > before + N, "%u generations take frames", N);
	for (unsigned i = 0; i < N; i++) {
		unsigned g = i * 5 % N + 1; /* in no order */
		expect_is(generation_forget(g), 0, "generation %u goes", g);
		gone[g] = true;
		for (unsigned k = 1; k <= N; k++)
			wrong += !gone[k] && (PAST(word + k * PAGE_WORDS, k) != 1 || (k > 2 && PAST(word + (k - 1) * PAGE_WORDS, k) != k));
	}
	expect_is((int64_t)wrong, 0, "looks at those still kept that saw something else");
	expect_is((int64_t)frames_owned(), (int64_t)before, "frames, when all are gone");
}

/* ---- 7, 8 ---- */

static void differences(void)
{
	uint32_t page[4] = {0};

	word[0] = word[5 * PT1_WORDS + 3 * PAGE_WORDS] = 1;
	generation_keep();
	expect_is((int64_t)generations_differ(0, 1, page, 4), 0, "pages that differ from a generation just kept");
	word[5 * PT1_WORDS + 3 * PAGE_WORDS] = 2;
	generation_keep();
	word[9 * PAGE_WORDS] = word[400 * PT1_WORDS] = 3;
	generation_keep();
	expect_is((int64_t)generations_differ(1, 2, page, 4), 1, "pages changed between 1 and 2");
	expect_is(page[0], 5 * 512 + 3, "which");
	expect_is((int64_t)generations_differ(1, 3, page, 4), 3, "pages changed between 1 and 3");
	expect(page[0] == 9 && page[1] == 5 * 512 + 3 && page[2] == 400 * 512, "they are %u, %u, %u", page[0], page[1], page[2]);
	expect_is((int64_t)generations_differ(3, 1, page, 1), 3, "the same the other way round, with room for one");
	expect_is(page[1], 5 * 512 + 3, "what is behind the room");
	forget_all();
}

static void many(void)
{
	for (unsigned g = 1; g <= GENERATIONS; g++) {
		*word = g;
		if (!expect_is(generation_keep(), g, "the number of a generation"))
			break;
	}
	expect_returns(generation_keep(), -ENOSPC, "one more");
	unsigned wrong = 0;
	for (unsigned g = 1; g <= GENERATIONS; g++)
		wrong += PAST(word, g) != g;
	expect_is(wrong, 0, "generations that read otherwise");
	expect_is(generation_forget(GENERATIONS), 0, "the last one goes");
	expect_is(generation_keep(), GENERATIONS, "its number, again");
	forget_all();
}

/* ---- 9 ---- */

static volatile bool stop;

/* First one word, then, in another page, the other: never the second before the first. */
static void write_pairs(void *arg)
{
	volatile uint64_t *first = arg, *second = first + PT1_WORDS;

	for (uint64_t i = 1; !stop; i++) {
		*first = i;
		*second = i;
	}
}

static void moment(void)
{
	enum { N = 40, WRITERS = 2 };
	struct thread *t[WRITERS];
	uint64_t torn = 0, last[WRITERS] = {0};

	stop = false;
	for (unsigned i = 0; i < WRITERS; i++) {
		word[i * PAGE_WORDS] = word[i * PAGE_WORDS + PT1_WORDS] = 0;
		t[i] = thread_new(write_pairs, (void *)(word + i * PAGE_WORDS), NULL);
		expect(t[i] != NULL, "a thread can be had");
	}
	for (unsigned g = 1; g <= N; g++) {
		expect_is(generation_keep(), g, "the number of a generation, kept while others write");
		thread_sleep(1);
		for (unsigned i = 0; i < WRITERS; i++) {
			volatile uint64_t *p = word + i * PAGE_WORDS;
			uint64_t a = PAST(p, g), b = PAST(p + PT1_WORDS, g);
			torn += (a != b && a != b + 1) || a < last[i];
			last[i] = a;
		}
	}
	stop = true;
	for (unsigned i = 0; i < WRITERS; i++)
		if (t[i])
			thread_join(t[i]);
	expect_is((int64_t)torn, 0, "generations that show a second write without the first, or an older state than the one before");
	for (unsigned i = 0; i < WRITERS; i++)
		expect(word[i * PAGE_WORDS] == word[i * PAGE_WORDS + PT1_WORDS] && word[i * PAGE_WORDS] >= last[i], "no write was lost");
	forget_all();
}

const struct line lines[] = {
    {1, "a generation reads as the region was when it was kept, 1 GiB further up for each, whatever is written later", past_is_there},
    {2, "keeping takes no frame; the first write after it two tables and a page, one next to it a page", price},
    {3, "the past can't be written, executed, mapped over or unmapped; what isn't kept isn't there", read_only},
    {4, "the present is zero where nobody was yet, and what is touched later is not in the past", zero},
    {5, "going back makes the present what it was; the other generations stay what they are", go_back},
    {6, "forgetting generations in any order gives back every frame that only they had, and none that others have", books_balance},
    {7, "two generations are compared by their tables: exactly the pages that changed", differences},
    {8, "there are 511 of them; the next is -ENOSPC until the last is forgotten", many},
    {9, "kept while threads write on other CPUs, each is one moment: no write without the one before it", moment},
    {0},
};
