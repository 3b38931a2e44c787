"""How a case is written. A case is a function of a World that yields a Line for each attack:

    from case import case, ok, bad

    @case("metadata-literal metadata-name")          # the attacks that it reports, each once
    def metadata(world):
        done = world.run("sh", "-c", "...")
        yield ok("metadata-literal", "CONNECT to 169.254.169.254", "403 of the gate")
        yield bad("metadata-name", "...", "what was got")

`ok` is said only after a look from outside of the jail. `@case(names, vps=True)` runs only on a throwaway
VPS, and is skipped here with a reason; alone=True keeps every other case waiting meanwhile; root=True needs
root here too, and is skipped without. A case that dies fails every name that it has not reported.
"""
import collections

Line = collections.namedtuple("Line", "name tried stopped holds")
Case = collections.namedtuple("Case", "names run vps alone why root")

CASES = []


def case(names, vps=False, alone=False, root=False, why="it would harm this machine if the jail failed"):
    def add(function):
        CASES.append(Case(names.split(), function, vps, alone, why, root))
        return function
    return add


def ok(name, tried, stopped):
    return Line(name, tried, stopped, True)


def bad(name, tried, what):
    return Line(name, tried, what, False)


def judge(name, tried, stopped, complaint):
    """ok, unless there is something to complain about."""
    return bad(name, tried, complaint) if complaint else ok(name, tried, stopped)
