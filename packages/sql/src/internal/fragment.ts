import * as Statement from "effect/sql/Statement"

export type Fragment = Statement.Fragment

/** SQL that stands in a statement as it is. */
export const literal = (text: string): Fragment => Statement.fragment([Statement.literal(text)])

/** A part of a statement, made without a client. Fragments are written into it, texts become parameters. */
export const fragment = (
  strings: TemplateStringsArray,
  ...values: ReadonlyArray<Fragment | string | ReadonlyArray<string>>
): Fragment =>
  Statement.fragment(strings.flatMap((text, i): ReadonlyArray<Statement.Segment> => {
    const value = values[i - 1]
    const segments = value === undefined
      ? []
      : Statement.isFragment(value)
      ? value.segments
      : [Statement.parameter(value)]
    return [...segments, Statement.literal(text)]
  }))

/** All must hold; with none, everything fits. */
export const and = (conditions: ReadonlyArray<Fragment>): Fragment =>
  conditions.length === 0 ? literal("TRUE") : Statement.and(conditions)

/** One must hold. */
export const or = (conditions: ReadonlyArray<Fragment>): Fragment => Statement.or(conditions)

/** One after the other, with a text in between. */
export const joined = (separator: string, fragments: ReadonlyArray<Fragment>): Fragment =>
  Statement.fragment(
    fragments.flatMap((each, i) => i === 0 ? each.segments : [Statement.literal(separator), ...each.segments])
  )
