"""The words of a filter and where they stand (CONTRACT section 4): text to syntax, by an LALR parser.

    expr  := or;  or := and ("or" and)*;  and := not ("and" not)*;  not := "not" not | "(" expr ")" | test
    test  := name op literal | name ["not"] "in" "[" literals "]" | name "contains" literal
           | name "contains_any" "[" literals "]" | name "is" ["not"] "null"
    op    := == | != | < | <= | > | >=          literal := integer | float | "string" | 'string' | true | false

Words are taken in either case. A string ends at its own quote; within it a backslash stands before a quote or another
backslash, or makes \\n, \\r or \\t. The parser keeps a stack of its own and builds from the inside out, so no text,
however nested, exhausts Python's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

from replicas.filters.limits import LITERALS_MAX, NESTING_MAX, TESTS_MAX, FilterInvalid, check_length

GRAMMAR = r"""
    start: expr
    expr: conjunction (_OR conjunction)*
    conjunction: inverse (_AND inverse)*
    ?inverse: NOT inverse -> negated
            | OPEN expr _CLOSE -> nested
            | test
    ?test: NAME COMPARE literal -> compared
         | NAME _IN literals -> one_of
         | NAME NOT _IN literals -> none_of
         | NAME _CONTAINS literal -> contains
         | NAME _CONTAINS_ANY literals -> contains_any
         | NAME _IS _NULL -> is_null
         | NAME _IS NOT _NULL -> is_not_null
    literals: _OPEN_LIST literal (_COMMA literal)* _CLOSE_LIST
    ?literal: INTEGER | FLOAT | STRING | TRUE | FALSE

    _OR.2: /or(?!\w)/i
    _AND.2: /and(?!\w)/i
    NOT.2: /not(?!\w)/i
    _IN.2: /in(?!\w)/i
    _IS.2: /is(?!\w)/i
    _NULL.2: /null(?!\w)/i
    _CONTAINS.2: /contains(?!\w)/i
    _CONTAINS_ANY.2: /contains_any(?!\w)/i
    TRUE.2: /true(?!\w)/i
    FALSE.2: /false(?!\w)/i
    NAME: /[A-Za-z_][A-Za-z0-9_]*(?!\w)/
    COMPARE: /==|!=|<=|>=|<|>/
    FLOAT.1: /-?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.])|-?[0-9]+[eE][+-]?[0-9]+(?![\w.])/
    INTEGER: /-?[0-9]+(?![\w.])/
    STRING: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
    OPEN: "("
    _CLOSE: ")"
    _OPEN_LIST: "["
    _CLOSE_LIST: "]"
    _COMMA: ","
    %ignore /\s+/
"""

# What people are told that could have stood at a place.
TERMINALS: Final = {
    "_OR": "`or`",
    "_AND": "`and`",
    "NOT": "`not`",
    "_IN": "`in`",
    "_IS": "`is`",
    "_NULL": "`null`",
    "_CONTAINS": "`contains`",
    "_CONTAINS_ANY": "`contains_any`",
    "NAME": "an attribute",
    "COMPARE": "a comparison such as `==`",
    "OPEN": "`(`",
    "_CLOSE": "`)`",
    "_OPEN_LIST": "`[`",
    "_CLOSE_LIST": "`]`",
    "_COMMA": "`,`",
    "$END": "the end",
}
LITERAL: Final = "a number, a string in quotes, `true` or `false`"
REMEDIES: Final = {
    "=": "compare with `==`",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`, or `!=` between an attribute and a literal",
}
LIST_REMEDY: Final = "a list stands in brackets, `[1, 2]`"
QUOTES: Final = "\"'"
SHOWN_CHARACTERS_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Test:
    """One test as it was written; `form` is its name in the grammar."""

    form: str
    name: Token
    literals: tuple[Token, ...] = ()
    operator: str = ""

    nesting: ClassVar[int] = 0
    tests: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts under `and` or `or`, or one part under `not` or within parentheses."""

    word: str
    parts: tuple[Syntax, ...]
    nesting: int  # Parentheses and `not`, one inside the other.
    tests: int


Syntax = Test | Joined


def read(text: str) -> Syntax:
    """What was written. Raises FilterInvalid: too long, too deep, too many tests or literals, or not in the grammar."""
    check_length(text)
    try:
        syntax: Any = PARSER.parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    found: Syntax = syntax
    return found


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Makes syntax while the text is read; each method is named as the form in the grammar."""

    def start(self, expr: Syntax) -> Syntax:
        return expr

    def expr(self, *parts: Syntax) -> Syntax:
        return _join("or", parts)

    def conjunction(self, *parts: Syntax) -> Syntax:
        return _join("and", parts)

    def negated(self, word: Token, part: Syntax) -> Syntax:
        return Joined("not", (part,), _deeper(part, word), part.tests)

    def nested(self, opening: Token, part: Syntax) -> Syntax:
        nesting = _deeper(part, opening)
        if isinstance(part, Joined):
            return replace(part, nesting=nesting)
        return Joined("and", (part,), nesting, part.tests)

    def compared(self, name: Token, operator: Token, literal: Token) -> Syntax:
        return Test("compared", name, (literal,), str(operator))

    def one_of(self, name: Token, literals: tuple[Token, ...]) -> Syntax:
        return Test("one_of", name, literals)

    def none_of(self, name: Token, _: Token, literals: tuple[Token, ...]) -> Syntax:
        return Test("none_of", name, literals)

    def contains(self, name: Token, literal: Token) -> Syntax:
        return Test("contains", name, (literal,))

    def contains_any(self, name: Token, literals: tuple[Token, ...]) -> Syntax:
        return Test("contains_any", name, literals)

    def is_null(self, name: Token) -> Syntax:
        return Test("is_null", name)

    def is_not_null(self, name: Token, _: Token) -> Syntax:
        return Test("is_not_null", name)

    def literals(self, *literals: Token) -> tuple[Token, ...]:
        if len(literals) > LITERALS_MAX:
            message = f"the list holds {len(literals)} literals; at most {LITERALS_MAX} may be"
            raise FilterInvalid("FILTER_TOO_MANY_LITERALS", message, at=literals[LITERALS_MAX].start_pos)
        return literals


PARSER: Final = Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_Builder())


def _join(word: str, parts: tuple[Syntax, ...]) -> Syntax:
    if len(parts) == 1:
        return parts[0]
    tests = sum(part.tests for part in parts)
    if tests > TESTS_MAX:
        message = f"the filter holds more than {TESTS_MAX} tests. One `in` tests many values"
        raise FilterInvalid("FILTER_TOO_MANY_TESTS", message)
    return Joined(word, parts, max(part.nesting for part in parts), tests)


def _deeper(part: Syntax, at: Token) -> int:
    """How deep it is with one more around it."""
    if part.nesting >= NESTING_MAX:
        message = f"from here on parentheses and `not` stand more than {NESTING_MAX} deep; fewer say the same"
        raise FilterInvalid("FILTER_TOO_DEEP", message, at=at.start_pos)
    return part.nesting + 1


def _syntax_error(text: str, error: UnexpectedInput) -> FilterInvalid:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        at, expected = error.token.start_pos or 0, error.expected
    elif isinstance(error, UnexpectedCharacters):
        at, expected = error.pos_in_stream, error.allowed
    else:
        at, expected = len(text), getattr(error, "expected", set())
    found = text[at : at + 1]
    if found in QUOTES and found and "STRING" in expected:
        return FilterInvalid("FILTER_SYNTAX", f"this string has no closing {found}", at=at)
    remedy = LIST_REMEDY if "_OPEN_LIST" in expected else REMEDIES.get(found)
    shown = f"`{_word_at(text, at)}`" if found else "the end"
    message = f"expected {_listed(expected)}, found {shown}" + (f"; {remedy}" if remedy else "")
    return FilterInvalid("FILTER_SYNTAX", message, at=at)


def _word_at(text: str, at: int) -> str:
    """What stands at a place, up to the next space."""
    word = text[at : at + SHOWN_CHARACTERS_MAX].split(maxsplit=1)
    return word[0] if word else text[at]


def _listed(expected: Iterable[str]) -> str:
    """The terminals as people know them, in the grammar's order; all literals are one."""
    words = [text for name, text in TERMINALS.items() if name in expected]
    if "STRING" in expected:
        words.insert(0, LITERAL)
    if len(words) < 2:
        return words[0] if words else "nothing more"
    return f"{', '.join(words[:-1])} or {words[-1]}"
