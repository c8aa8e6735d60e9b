import { CliError, exitCodes } from './exit-codes.ts'

/** The names by which a pool `HOST@BACKEND#LIF:/junction` may be called where that is unique. */
function namesOf(pool: string): Set<string> {
  const match = /^([^@#]+)@([^@#]+)#(.+)$/.exec(pool)
  if (match === null) return new Set([pool])
  const [, , backend = '', name = ''] = match
  const junction = name.slice(name.indexOf('/'))
  return new Set([pool, `${backend}#${name}`, backend, name, junction, junction.replace(/^.*\//, '')])
}

/**
 * The full host string of the one pool that `wish` means. A full string is passed on as it is: what is wrong
 * with it the server knows best.
 */
export function resolvePool(wish: string, pools: readonly string[]): string {
  if (/^[^@#]+@[^@#]+#.+$/.test(wish)) return wish
  const matches = pools.filter((pool) => namesOf(pool).has(wish))
  const [only, another] = matches
  if (only !== undefined && another === undefined) return only
  const shown = (matches.length > 0 ? matches : pools).map((pool) => `  ${pool}`).join('\n')
  throw new CliError(
    matches.length > 0 ? exitCodes.refused : exitCodes.notFound,
    matches.length > 0
      ? `'${wish}' means more than one pool; give more of its name:\n${shown}`
      : `there is no pool '${wish}'; there are:\n${shown}`,
  )
}
