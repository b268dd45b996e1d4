// Small wrongs, one at a time, in a source: what a tired hand might have written instead. A test suite that does not see
// one of them does not hold the line it stands in.
import type { Expression, Node, Statement, VisitorObject } from 'oxc-parser'
import { Visitor, parseSync } from 'oxc-parser'

/** One wrong in one source. File, text and mutation together name it, also after lines were moved. */
export interface Mutant {
  /** From the root of the project, for instance `src/core/money.ts`. */
  readonly file: string
  readonly line: number
  /** The line that it begins in, without its indent. */
  readonly text: string
  /** What was done, for people: `boundary: a < b → a <= b`. */
  readonly mutation: string
  /** Offsets into the source, in UTF-16 units. */
  readonly start: number
  readonly end: number
  readonly replacement: string
}

type Put = (node: Span, kind: string, replacement: string) => void

interface Span {
  readonly start: number
  readonly end: number
}

/** Longest piece of code in the name of a mutation. */
const PIECE_CHARS_MAX = 100

const boundaries: Record<string, string> = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' }

const opposites: Record<string, string> = {
  '<': '>=',
  '<=': '>',
  '>': '<=',
  '>=': '<',
  '===': '!==',
  '!==': '===',
  '==': '!=',
  '!=': '==',
}

const sums: Record<string, string> = {
  '+': '-',
  '-': '+',
  '*': '/',
  '/': '*',
  '%': '*',
  '**': '*',
  '&': '|',
  '|': '&',
  '^': '&',
  '<<': '>>',
  '>>': '<<',
  '>>>': '<<',
}

const assignments: Record<string, string> = {
  '+=': '-=',
  '-=': '+=',
  '*=': '/=',
  '/=': '*=',
  '||=': '&&=',
  '&&=': '||=',
  '??=': '&&=',
}

/** Calls that become another, or only what they were called on. */
const others: ReadonlyMap<string, string> = new Map([
  ['some', 'every'],
  ['every', 'some'],
  ['min', 'max'],
  ['max', 'min'],
  ['startsWith', 'endsWith'],
  ['endsWith', 'startsWith'],
])

const passing: ReadonlySet<string> = new Set([
  'filter',
  'slice',
  'subarray',
  'sort',
  'toSorted',
  'reverse',
  'toReversed',
  'trim',
  'toLowerCase',
  'toUpperCase',
  'padStart',
])

/** A state, a code, a name: no sentence. */
const WORD = /^[A-Za-z][\w/:.-]*$/

/** Every mutant of a source. Pure: the same source gives the same mutants in the same order. */
export function mutantsOf(file: string, source: string): readonly Mutant[] {
  const { program, errors } = parseSync(file, source)
  if (errors.length > 0) throw new SyntaxError(`${file}: ${errors[0]?.message}`)
  const found: Mutant[] = []
  const put: Put = ({ start, end }, kind, replacement) => {
    const line = source.slice(0, start).split('\n').length
    const text = source.split('\n')[line - 1]?.trim() ?? ''
    const before = pieceOf(source.slice(start, end))
    const mutation = `${kind}: ${before} → ${pieceOf(replacement) || 'nothing'}`
    found.push({ file, line, text, mutation, start, end, replacement })
  }
  new Visitor(wrongs(source, put)).visit(program)
  return found.toSorted((a, b) => a.start - b.start || a.end - b.end)
}

/** The source with the wrong in it. */
export function applied(source: string, { start, end, replacement }: Mutant): string {
  return source.slice(0, start) + replacement + source.slice(end)
}

function pieceOf(code: string): string {
  const flat = code.replaceAll(/\s+/g, ' ').trim()
  if (flat.length <= PIECE_CHARS_MAX) return flat
  return `${flat.slice(0, PIECE_CHARS_MAX - 20)} … ${flat.slice(-17)}`
}

/** What is done at each kind of node. Parents are visited first: they say what of their children is left alone. */
function wrongs(source: string, put: Put): VisitorObject {
  const left = new Set<unknown>()
  const tests = new Set<unknown>()
  const statements = new Set<unknown>()
  /** How deep within types and assertions the walk is: what stands there never runs, or states what cannot be otherwise. */
  let within = 0
  const enter = (): void => void within++
  const leave = (): void => void within--
  const of = ({ start, end }: Span): string => source.slice(start, end)
  const code = (node: Span, kind: string, replacement: string): void => {
    if (within === 0) put(node, kind, replacement)
  }
  const condition = (test: Expression): void => {
    tests.add(test)
    code(test, 'condition', 'true')
    code(test, 'condition', 'false')
  }
  return {
    TSLiteralType: enter,
    'TSLiteralType:exit': leave,
    TSTemplateLiteralType: enter,
    'TSTemplateLiteralType:exit': leave,
    ImportDeclaration: enter,
    'ImportDeclaration:exit': leave,
    ExportNamedDeclaration: (node) => void left.add(node.source),
    ExportAllDeclaration: (node) => void left.add(node.source),
    TSPropertySignature: (node) => void left.add(node.key),
    Property: (node) => void left.add(node.key),
    PropertyDefinition: (node) => void left.add(node.key),
    MemberExpression: (node) => {
      if (node.computed) left.add(node.property)
    },
    IfStatement: ({ test }) => condition(test),
    ConditionalExpression: ({ test }) => condition(test),
    WhileStatement: ({ test }) => {
      tests.add(test)
      code(test, 'condition', 'false')
    },
    ForStatement: ({ test }) => {
      if (!test) return
      tests.add(test)
      code(test, 'condition', 'false')
    },
    ExpressionStatement: (node) => {
      if (node.directive) return
      statements.add(node.expression)
      code(node, isAssertion(node.expression) ? 'assertion removed' : 'removed', ';')
      if (node.expression.type === 'AwaitExpression')
        code(node.expression, 'not awaited', `void ${of(node.expression.argument)}`)
    },
    ThrowStatement: (node) => code(node, 'removed', ';'),
    BreakStatement: (node) => code(node, 'removed', ';'),
    ContinueStatement: (node) => code(node, 'removed', ';'),
    ReturnStatement: (node) => {
      if (!node.argument) code(node, 'removed', ';')
    },
    BinaryExpression: (node) => {
      const { left: a, right: b, operator } = node
      const put = (kind: string, other: string | undefined): void => {
        if (other) code(node, kind, `${of(a)} ${other} ${of(b)}`)
      }
      put('boundary', boundaries[operator])
      // A test that is replaced by true and by false is negated by one of them.
      if (!tests.has(node)) put('negated', opposites[operator])
      if (operator !== '+' || !(isText(a) || isText(b))) put('operator', sums[operator])
    },
    LogicalExpression: (node) => {
      const { left: a, right: b, operator } = node
      const swapped = `${of(a)} ${operator === '&&' ? '||' : '&&'} ${of(b)}`
      code(node, 'operand dropped', of(a))
      code(node, 'operand dropped', statements.has(node) ? of(b) : `(${of(b)})`)
      if (operator !== '??') code(node, 'swapped', statements.has(node) ? swapped : `(${swapped})`)
    },
    UnaryExpression: (node) => {
      if (node.operator === '!' || node.operator === '-' || node.operator === '~')
        code(node, 'sign', of(node.argument))
    },
    UpdateExpression: (node) => {
      const other = node.operator === '++' ? '--' : '++'
      code(node, 'operator', node.prefix ? other + of(node.argument) : of(node.argument) + other)
    },
    AssignmentExpression: (node) => {
      const other = assignments[node.operator]
      if (other) code(node, 'operator', `${of(node.left)} ${other} ${of(node.right)}`)
    },
    CallExpression: (node) => {
      if (isAssertion(node)) return enter()
      const { callee } = node
      if (callee.type !== 'MemberExpression' || callee.property.type !== 'Identifier') return
      const { name } = callee.property
      const instead = others.get(name)
      if (instead) code(callee.property, 'call', instead)
      if (passing.has(name)) code(node, 'call dropped', of(callee.object))
    },
    'CallExpression:exit': (node) => {
      if (isAssertion(node)) leave()
    },
    Literal: (node) => {
      if (left.has(node)) return
      if ('regex' in node) return anchors(of(node), (to) => code(node, 'pattern', to))
      if (typeof node.value === 'boolean') code(node, 'literal', String(!node.value))
      if (typeof node.value === 'bigint') code(node, 'literal', `${other(node.value)}n`)
      if (typeof node.value === 'number') code(node, 'literal', numeral(node.value, of(node)))
      if (typeof node.value === 'string' && WORD.test(node.value)) code(node, 'literal', "''")
    },
  }
}

function isAssertion(node: Node | Statement): boolean {
  return (
    node.type === 'CallExpression' &&
    node.callee.type === 'Identifier' &&
    node.callee.name === 'assert'
  )
}

function isText(node: Node): boolean {
  return (
    node.type === 'TemplateLiteral' || (node.type === 'Literal' && typeof node.value === 'string')
  )
}

/** A pattern that is open at one of its ends. */
function anchors(pattern: string, put: (to: string) => void): void {
  if (pattern.startsWith('/^')) put(`/${pattern.slice(2)}`)
  if (/[^\\]\$\/[a-z]*$/.test(pattern)) put(pattern.replace(/\$(\/[a-z]*)$/, '$1'))
}

function other(value: bigint): bigint {
  return value === 0n ? 1n : value === 1n ? 0n : value + 1n
}

/** The next number, or nothing for one. What is written in base sixteen or in underscores is a number all the same. */
function numeral(value: number, raw: string): string {
  if (value === 1) return '0'
  return Number.isInteger(value) ? String(value + 1) : `(${raw} * 2)`
}
