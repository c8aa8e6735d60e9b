/**
 * Nova's list filters are regular expressions that the database matches anywhere in the value. Here the part of
 * them that every database can do is kept: `^`, `$`, `.`, `.*`, `.+` and escaped characters; every other
 * character stands for itself. The result is a LIKE pattern with `\` as its escape.
 */
export function likeFromPattern(pattern: string): string {
  let rest = pattern
  const startsAnchored = rest.startsWith('^')
  if (startsAnchored) rest = rest.slice(1)
  const endsAnchored = /(^|[^\\])\$$/.test(rest)
  if (endsAnchored) rest = rest.slice(0, -1)
  let like = ''
  for (let i = 0; i < rest.length; i += 1) {
    const character = rest.charAt(i)
    const next = rest.charAt(i + 1)
    if (character === '\\' && next !== '') {
      like += literal(next)
      i += 1
    } else if (character === '.' && next === '*') {
      like += '%'
      i += 1
    } else if (character === '.' && next === '+') {
      like += '_%'
      i += 1
    } else like += character === '.' ? '_' : literal(character)
  }
  return `${startsAnchored ? '' : '%'}${like}${endsAnchored ? '' : '%'}`
}

const literal = (character: string): string =>
  character === '%' || character === '_' || character === '\\' ? `\\${character}` : character
