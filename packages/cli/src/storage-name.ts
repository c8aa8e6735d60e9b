import type { Aggregate } from '@volant/contract/ndo/aggregate.ts'
import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import type { Share } from '@volant/contract/ndo/share.ts'
import { CliError, exitCodes } from './exit-codes.ts'

/** The one thing that `wish` names; else an error that says what there is. */
function theOne<T>(
  what: string,
  wish: string,
  things: readonly T[],
  namesOf: (thing: T) => string[],
  shown: (thing: T) => string,
  { where = '', more = 'more of its name' }: { where?: string; more?: string } = {},
): T {
  const matches = things.filter((thing) => namesOf(thing).includes(wish))
  const [only, another] = matches
  if (only !== undefined && another === undefined) return only
  const list = (matches.length > 0 ? matches : things).map((thing) => `\n  ${shown(thing)}`).join('')
  if (matches.length > 0) {
    throw new CliError(
      exitCodes.refused,
      `'${wish}' means more than one ${what}${where}; give ${more}:${list}`,
    )
  }
  throw new CliError(
    exitCodes.notFound,
    list === ''
      ? `there is no ${what} '${wish}'${where}, nor any other`
      : `there is no ${what} '${wish}'${where}; there are:${list}`,
  )
}

/** `CLUSTER/NAME`: what means one FlexVol, or aggregate, of all. */
const fullName = ({ cluster, name }: { cluster: string; name: string }): string => `${cluster}/${name}`

/**
 * A FlexVol by its name, `CLUSTER/NAME`, pool (`HOST@BACKEND#POOL`, or its part after the `#`), or id; one that is a share's
 * by the share's name (`share/NAME` where a FlexVol is called so, too), id or export location as well.
 */
export function resolveFlexVol(wish: string, flexvols: readonly FlexVol[]): FlexVol {
  return theOne(
    'FlexVol or share',
    wish,
    flexvols,
    (one) => [
      one.name,
      fullName(one),
      one.id,
      ...(one.share === null ? poolNames(one) : shareNames(one.share)),
    ],
    (one) =>
      `${fullName(one)}  on ${one.aggregate}@${one.node}${one.share === null ? '' : `  ${titleOf(one)}`}`,
  )
}

const poolNames = ({ host }: FlexVol): string[] => (host === null ? [] : [host, host.replace(/^[^#]*#/, '')])

function shareNames({ id, name, export_location }: NonNullable<FlexVol['share']>): string[] {
  const ways = [id, export_location, ...(name === null ? [] : [name])]
  return [...ways, ...ways.map((way) => `share/${way}`)]
}

/** A share by its name, id or export location. */
export function resolveShare(wish: string, shares: readonly Share[]): Share {
  return theOne(
    'share',
    wish,
    shares,
    ({ id, name, export_location: location }) => [
      id,
      ...(name === null ? [] : [name]),
      ...(location === null ? [] : [location]),
    ],
    ({ id, name, project_id }) => `${id}  ${name ?? '(no name)'}  of project ${project_id}`,
    { more: 'its id' },
  )
}

/** As people call it: `FlexVol CLUSTER/NAME`, or `share NAME`. */
export const titleOf = (one: Pick<FlexVol, 'cluster' | 'name' | 'share'>): string =>
  one.share === null ? `FlexVol ${fullName(one)}` : `share ${one.share.name ?? one.share.id}`

const placeOf = ({ name, node }: Aggregate): string => `${name}@${node}`
const aggregateNames = (one: Aggregate): string[] => [one.name, fullName(one), placeOf(one)]
const aggregateShown = (one: Aggregate): string => `${fullName(one)}  on node ${one.node}`

/** An aggregate by its name, `CLUSTER/NAME` or `NAME@NODE`; of one cluster where that is given. */
export function resolveAggregate(
  wish: string,
  aggregates: readonly Aggregate[],
  cluster?: string,
): Aggregate {
  const here = aggregates.filter((one) => cluster === undefined || one.cluster === cluster)
  const where = cluster === undefined ? '' : ` in cluster ${cluster}`
  return theOne('aggregate', wish, here, aggregateNames, aggregateShown, { where })
}

export type Vacated = { cluster: string; aggregate: string } | { cluster: string; node: string }

/** An aggregate, or a whole storage node by its name (`node/NAME` where an aggregate is called so, too). */
export function resolveVacated(wish: string, aggregates: readonly Aggregate[]): Vacated {
  const nodes = new Map(aggregates.map((one) => [one.node, one.cluster]))
  const things = [
    ...aggregates.map((one) => ({
      vacated: { cluster: one.cluster, aggregate: one.name },
      names: aggregateNames(one),
      shown: aggregateShown(one),
    })),
    ...[...nodes].map(([node, cluster]) => ({
      vacated: { cluster, node },
      names: [node, `node/${node}`],
      shown: `node/${node}  of cluster ${cluster}`,
    })),
  ]
  return theOne(
    'aggregate or node',
    wish,
    things,
    (thing) => thing.names,
    (thing) => thing.shown,
  ).vacated
}
