/* higher_half.c - a tree on the heap, a thread with a stack of its own, a look into the page tables through the window. */
#include "work.h"

struct node {
	struct node *left, *right;
	uint64_t key;
};

static struct node *insert(struct node *n, uint64_t key)
{
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (n)
			n->key = key;
	} else if (key < n->key) {
		n->left = insert(n->left, key);
	} else {
		n->right = insert(n->right, key);
	}
	return n;
}

static uint64_t sum(const struct node *n) { return n ? sum(n->left) + n->key + sum(n->right) : 0; }

static volatile va_t stack_of_thread;
static void run(void *arg) { stack_of_thread = (va_t)__builtin_frame_address(0), (void)arg; }

/* The entry of `level` that maps va, read through slot 510. */
static pte_t self_entry(va_t va, unsigned level)
{
	va_t at = (va >> 12 & 0xfffffffff) << 3 | 0xffffff0000000000;

	for (; level > 1; level--)
		at = (at >> 12 & 0xfffffffff) << 3 | 0xffffff0000000000;
	return *(const volatile pte_t *)at;
}

void layout_work(void)
{
	struct node *tree = NULL;
	uint64_t keys = 0, key = 1;
	struct extent stack = layout_named("[stack]");

	for (unsigned i = 0; i < 1000; i++) {
		key = key * 6364136223846793005 + 1442695040888963407;
		keys += key >> 33;
		tree = insert(tree, key >> 33);
	}
	check(sum(tree) == keys, "a tree of 1000 nodes on the heap at %p, right after .bss", (void *)layout_heap.lo);
	struct thread *t = thread_new(run, NULL, NULL);
	if (t)
		thread_join(t);
	check(stack_of_thread >= stack.lo && stack_of_thread < layout_stack.lo, "a thread's stack at %#lx, below the first one's",
	      stack_of_thread);
	int64_t map = mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	check(!mm_failed(map) && (va_t)map < stack.lo && fh_pte_pfn(self_entry((va_t)map, 1)) == fh_pte_pfn(space_get(space_current(), (va_t)map)),
	      "a mapping at %#lx; its entry, read through slot 510: %#lx", (va_t)map, self_entry((va_t)map, 1));
	mm_unmap((va_t)map, FH_PAGE);
}
