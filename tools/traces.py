#!/usr/bin/env python3
"""Traces of malloc calls, in the .rep format of the CS:APP malloc lab.

    traces.py list                     what there is
    traces.py record [NAME...]         run the programs on this machine and write test/traces/NAME.rep.gz anew
    traces.py write NAME               print one as .rep
    traces.py check FILE...            read .rep files (or .rep.gz), say what is in them, or what is wrong

A .rep file begins with a header of integers, one to a line: heap size, ids, operations, weight (the older order); weight,
ids, operations, heap size (the newer one); or ids and operations only, in either order. Which it is follows from the
numbers. Then come the operations: `a ID BYTES`, `r ID BYTES`, `f ID` (f -1: of NULL). Weight 0: counts for correctness
only, 1: for all, 2: not for speed, 3: not for space."""
import gzip, os, random, re, struct, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORDED = os.path.join(HERE, "test", "traces")
ALLOC, FREE, REALLOC = "afr"
NULL = -1
SIZE_MAX = 1 << 30  # of one block in a trace


class Bad(Exception):
    """What is wrong with a file, and where."""


class Trace:
    def __init__(self, name, ops, weight=1):
        self.name, self.ops, self.weight = name, ops, weight  # ops: (op, id, bytes)
        self.ids = 1 + max((i for _, i, _ in ops), default=-1)

    def peak(self):
        """Most bytes in use at once."""
        size, live, most = {}, 0, 0
        for op, i, n in self.ops:
            live += n - size.pop(i, 0)
            if op != FREE:
                size[i] = n
            most = max(most, live)
        return most

    def text(self):
        body = [f"{op} {i}" if op == FREE else f"{op} {i} {n}" for op, i, n in self.ops]
        return "\n".join([str(n) for n in (self.peak(), self.ids, len(self.ops), self.weight)] + body) + "\n"

    def binary(self):
        """As user/grade/job.h has it."""
        codes = {ALLOC: 0, FREE: 1, REALLOC: 2}
        return b"".join(struct.pack("<IIQ", codes[op], i & 0xffffffff, n) for op, i, n in self.ops)


# ---- Reading .rep ----

def header(name, numbers, nops, nids):
    """The weight, after a look whether the counts in the header are those of the file."""
    def counts(ids, ops):
        return ids >= nids and ops == nops
    if len(numbers) == 2:
        if counts(*numbers) or counts(*reversed(numbers)):
            return 1
    elif len(numbers) == 4:
        if counts(*numbers[1:3]):
            weight = min(numbers[0], numbers[3])  # the other one is a heap's size
            if weight > 3:
                raise Bad(f"{name}: header {numbers}: neither the first number nor the last is a weight (0 to 3)")
            return weight
    else:
        raise Bad(f"{name}: a header of {len(numbers)} integers: it has 2 or 4")
    raise Bad(f"{name}: header {numbers} doesn't fit the {nops} operations on {nids} ids that follow")


def parse(name, text):
    numbers, ops, live = [], [], set()
    for at, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words:
            continue
        where = f"{name}:{at}"
        if not ops and len(words) == 1 and re.fullmatch(r"\d+", words[0]):
            numbers.append(int(words[0]))
            continue
        if words[0] not in (ALLOC, FREE, REALLOC):
            raise Bad(f"{where}: {line.strip()[:40]!r} is neither a, r nor f")
        if len(words) != (2 if words[0] == FREE else 3):
            raise Bad(f"{where}: {words[0]} takes {'an id' if words[0] == FREE else 'an id and a size'}")
        try:
            op, i, n = words[0], int(words[1]), int(words[2]) if len(words) == 3 else 0
        except ValueError:
            raise Bad(f"{where}: {line.strip()[:40]!r}: not a number") from None
        if i < (NULL if op == FREE else 0) or i > 1 << 24:
            raise Bad(f"{where}: no such id: {i}")
        if n < 0 or n > SIZE_MAX:
            raise Bad(f"{where}: no such size: {n}")
        if op == ALLOC and i in live:
            raise Bad(f"{where}: block {i} is allocated a second time")
        if op == FREE and i != NULL and i not in live:
            raise Bad(f"{where}: block {i} is freed and isn't there")
        (live.discard if op == FREE else live.add)(i)
        ops.append((op, i, n))
    if not ops:
        raise Bad(f"{name}: no operations")
    trace = Trace(os.path.basename(name).split(".")[0], ops)
    trace.weight = header(name, numbers, len(ops), trace.ids)
    return trace


def read(path):
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", errors="replace") as f:
            return parse(path, f.read())
    except (OSError, EOFError) as e:
        raise Bad(f"{path}: {e}") from None


# ---- Made by seeded generators ----

class Maker:
    """Keeps books while a generator says what happens."""

    def __init__(self, seed):
        self.random, self.ops, self.live, self.next = random.Random(seed), [], {}, 0

    def alloc(self, n):
        self.ops.append((ALLOC, self.next, n))
        self.live[self.next] = n
        self.next += 1
        return self.next - 1

    def free(self, i):
        self.ops.append((FREE, i, 0))
        del self.live[i]

    def realloc(self, i, n):
        self.ops.append((REALLOC, i, n))
        self.live[i] = n

    def any(self):
        return self.random.choice(list(self.live))

    def end(self):
        for i in list(self.live):
            self.free(i)


def mixture(m, steps, live, size):
    """Blocks come until `live` bytes are in use, then as many go as come."""
    while len(m.ops) < steps:
        if sum(m.live.values()) < live:
            m.alloc(size())
        else:
            for _ in range(m.random.randrange(1, 8)):
                m.free(m.any())
    m.end()


def uniform(m):
    mixture(m, 4000, 1 << 20, lambda: m.random.randrange(1, 4097))


def power(m):
    """Mostly small, some big: sizes by a power law, as programs have them."""
    mixture(m, 5000, 1 << 19, lambda: min(1 << 16, int(16 * m.random.paretovariate(1))))


def binary(m, small=64, big=448, more=512, n=1000):
    """Small and big in turn; the big ones go, and slightly bigger ones don't fit where they were."""
    blocks = [(m.alloc(small), m.alloc(big)) for _ in range(n)]
    for _, b in blocks:
        m.free(b)
    for _ in range(n):
        m.alloc(more)
    m.end()


def binary2(m):
    binary(m, 16, 112, 128, 1000)


def coalescing(m):
    """Neighbours go in pairs and blocks as big as both come: good only for who joins them."""
    for _ in range(20):
        pairs = [(m.alloc(4095), m.alloc(4095)) for _ in range(20)]
        for a, b in pairs:
            m.free(a)
            m.free(b)
        sums = [m.alloc(8190) for _ in range(20)]
        for i in sums:
            m.free(i)


def checkers(m):
    """Every other block goes, and what comes fits a hole exactly, or is a little too big."""
    for size in (24, 120, 1000):
        blocks = [m.alloc(size) for _ in range(400)]
        for b in blocks[::2]:
            m.free(b)
        for i in range(200):
            m.alloc(size if i % 2 else size + 40)
    m.end()


def grow(m):
    """One block grows by realloc, small ones are made and freed behind it."""
    big = m.alloc(512)
    for n in range(640, 640 + 128 * 1200, 128):
        m.realloc(big, n)
        m.free(m.alloc(128))
    m.end()


def vectors(m):
    """Some vectors that double up to a megabyte, and shrink to what they need at last."""
    for _ in range(3):
        blocks = [m.alloc(16) for _ in range(12)]
        for n in (16 << k for k in range(1, 15)):
            for b in blocks:
                m.realloc(b, n)
                m.alloc(m.random.randrange(16, 200))
        for n in (1 << 19, 1 << 20, 700000):
            m.realloc(blocks[0], n)
        for b in blocks[1:]:
            m.realloc(b, 9000)
        m.end()


def queue(m):
    """Messages: first in, first out, in bursts; sizes of a few kinds."""
    waiting = []
    for _ in range(60):
        waiting += [m.alloc(m.random.choice((32, 48, 64, 256, 1500))) for _ in range(m.random.randrange(10, 90))]
        keep = m.random.randrange(0, 100)
        while len(waiting) > keep:
            m.free(waiting.pop(0))
    m.end()


def sawtooth(m):
    """Phases that leave a few long-lived blocks behind in the midst of what they free."""
    for phase in range(8):
        blocks = [m.alloc(m.random.randrange(16, 64) << (phase % 4 * 2)) for _ in range(300)]
        for i, b in enumerate(blocks):
            if i % 25:
                m.free(b)
    m.end()


GENERATED = (uniform, power, binary, binary2, coalescing, checkers, grow, vectors, queue, sawtooth)


def generated(maker):
    m = Maker(maker.__name__)
    maker(m)
    return Trace(maker.__name__, m.ops)


# ---- Recorded from programs on Linux ----

SHELL = """
greet() { local who="$1"; echo "hello, $who: $((x * x))"; }
x=1
while [ $x -lt 60 ]; do
	name="item-$x"; list="$list $name"; eval "v_$x=\\"$name $list\\""
	case $name in *7) y=$(greet "$name");; item-1*) greet $name >/dev/null;; esac
	x=$((x + 1))
done
for w in $list; do set -- $w $list; shift; alias a_${w#item-}="echo $w"; done
unalias -a
"""
SQL = """
create table t(id integer primary key, name text, n real); create table u(t integer, word text); create index i on u(word);
with recursive c(x) as (select 1 union all select x + 1 from c where x < 300)
	insert into t select x, printf('name %d', x * 7919 % 1009), x / 3.0 from c;
insert into u select id % 50, substr(name, 6) || ' ' || id from t;
select count(*), avg(n) from t join u on u.t = t.id where word like '1%' group by u.t order by 2 desc;
update t set name = upper(name) || name where id % 3 = 0; delete from u where t < 10; select max(name) from t; vacuum;
"""
VIM = """
call setline(1, map(range(1, 200), '"line " . v:val . " of the text that is edited here"'))
silent %s/line \\(\\d*\\)/\\=submatch(1) * 3/g
silent g/5/normal Aappended
silent 50,90move 120
syntax on
let d = {}
for i in range(1, 300) | let d['key' . i] = split(getline(i % 150 + 1), ' ') | endfor
call sort(values(d))
silent undo
silent redo
silent v/1/d
qa!
"""
# name: (command, what it reads, the name of that file, weight). The shell needs 16 KB: whether an allocator holds 5 pages for it
# or 10 says nothing about how it uses space.
PROGRAMS = {
    "compiler": ("{cc1} -quiet -O1 -o /dev/null {file}", None, "trace.c", 1),
    "shell": ("dash {file}", SHELL, "trace.sh", 3),
    "database": ("sqlite3 -batch :memory: '.read {file}'", SQL, "trace.sql", 1),
    "editor": ("vim -u NONE -es -n -S {file}", VIM, "trace.vim", 1),
}
OPERATIONS = 5000  # kept of each


def compiler_input():
    """A program that needs no headers."""
    lines = ["typedef unsigned long u64; struct node { struct node *next; int key; char name[16]; };"]
    for i in range(12):
        lines.append(f"static u64 f{i}(struct node *n, u64 x) {{ u64 s = {i}; for (; n; n = n->next) "
                     f"{{ if (n->key % {i + 2} == 0) s += x * {i}; else s ^= n->name[{i}]; switch (n->key) "
                     f"{{ case {i}: s++; break; case {i + 9}: s--; }} }} return s; }}")
    lines.append("u64 all(struct node *n) { return " + " + ".join(f"f{i}(n, {i})" for i in range(12)) + "; }")
    return "\n".join(lines) + "\n"


def events(path):
    """(op, id, bytes) of a log; an id for each lifetime."""
    at, fresh, out = {}, 0, []
    for line in open(path):
        op, *words = line.split()
        words = [int(w, 16) for w in words]
        if op == FREE:
            if words[0] in at:
                out.append((FREE, at.pop(words[0]), 0))
            continue
        old = words.pop(0) if op == REALLOC else 0
        i = at.pop(old, None)
        if i is None:
            op, i, fresh = ALLOC, fresh, fresh + 1
        if words[0] in at:  # its free was not seen
            out.append((FREE, at.pop(words[0]), 0))
        at[words[0]] = i
        out.append((op, i, max(1, words[1])))
    return out


def thin(ops, most):
    """Whole lifetimes of some blocks, drawn by lot, so that about `most` operations are left: sizes, lifetimes and their
    order stay as they were, only the heap is smaller."""
    lot, kept, new = random.Random(1), {}, []
    share = min(1.0, most / len(ops))
    for op, i, n in ops:
        if op == ALLOC and lot.random() < share:
            kept[i] = len(kept)
        if i in kept:
            new.append((op, kept[i], n))
    return new


def record(name):
    command, text, file, weight = PROGRAMS[name]
    with tempfile.TemporaryDirectory() as d:
        library, log = os.path.join(d, "record.so"), os.path.join(d, "log")
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fno-builtin", "-o", library,
                        os.path.join(HERE, "tools", "record.c")], check=True)
        with open(os.path.join(d, file), "w") as f:
            f.write(text or compiler_input())
        cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": d, "TERM": "dumb"}
        subprocess.run(["sh", "-c", f"LD_PRELOAD={library} MALLOC_LOG={log} exec " + command.format(cc1=cc1, file=file)],
                       cwd=d, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Trace(name, thin(events(log), OPERATIONS), weight)


def write_recorded(trace):
    os.makedirs(RECORDED, exist_ok=True)
    with open(os.path.join(RECORDED, trace.name + ".rep.gz"), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(trace.text().encode())


def standard():
    """All traces of the repository, in the order of the tables."""
    recorded = sorted(f for f in os.listdir(RECORDED) if f.endswith(".rep.gz")) if os.path.isdir(RECORDED) else []
    return [read(os.path.join(RECORDED, f)) for f in recorded] + [generated(g) for g in GENERATED]


def describe(t):
    sizes = [n for op, _, n in t.ops if op != FREE]
    return (f"{t.name:12} {len(t.ops):6} operations {t.ids:6} blocks, sizes {min(sizes, default=0)} to {max(sizes, default=0)}, "
            f"at most {t.peak()} bytes in use, weight {t.weight}")


def main():
    what, *names = sys.argv[1:] or ["help"]
    try:
        if what == "record":
            for name in names or PROGRAMS:
                write_recorded(record(name))
        elif what == "write" and names:
            print(next(t for t in standard() if t.name == names[0]).text(), end="")
        elif what == "check":
            for path in names:
                print(describe(read(path)))
        elif what == "list":
            print("\n".join(describe(t) for t in standard()))
        else:
            sys.exit(__doc__)
    except Bad as e:
        sys.exit(f"traces: {e}")


if __name__ == "__main__":
    main()
