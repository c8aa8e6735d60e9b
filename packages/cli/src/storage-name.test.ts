import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Aggregate } from '@volant/contract/ndo/aggregate.ts'
import type { FlexVol } from '@volant/contract/ndo/flexvol.ts'
import { exitCodes, type CliError } from './exit-codes.ts'
import { resolveAggregate, resolveFlexVol, resolveVacated } from './storage-name.ts'

const flexvol = (cluster: string, name: string): FlexVol =>
  ({
    id: `id-${cluster}-${name}`,
    cluster,
    name,
    host: `h@${cluster}#10.0.0.1:/${name}`,
    node: 'n',
    aggregate: 'a',
    share: null,
  }) as FlexVol
const shareOf = (cluster: string, id: string, name: string | null): FlexVol => ({
  ...flexvol(cluster, `share_${id}`),
  host: null,
  share: { id, name, export_location: `10.0.0.1:/share_${id}` },
})
const aggregate = (cluster: string, node: string, name: string): Aggregate =>
  ({ cluster, node, name }) as Aggregate

const gold = flexvol('lma', 'gold')
const flexvols = [gold, flexvol('lma', 'twin'), flexvol('lmb', 'twin')]
const aggregates = [
  aggregate('lma', 'lma-01', 'aggr1'),
  aggregate('lma', 'lma-02', 'aggr2'),
  aggregate('lmb', 'lmb-01', 'aggr1'),
  aggregate('lmb', 'lmb-02', 'lmb-01'),
]

const refusal =
  (exitCode: number, ...parts: string[]) =>
  (error: CliError) =>
    error.exitCode === exitCode && parts.every((part) => error.message.includes(part))

describe('a FlexVol', () => {
  for (const wish of ['gold', 'lma/gold', 'h@lma#10.0.0.1:/gold', '10.0.0.1:/gold', 'id-lma-gold']) {
    it(`by ${wish}`, () => assert.equal(resolveFlexVol(wish, flexvols), gold))
  }
  it('a name that two have, or none, says which there are', () => {
    assert.throws(() => resolveFlexVol('twin', flexvols), refusal(exitCodes.refused, 'lma/twin', 'lmb/twin'))
    assert.throws(() => resolveFlexVol('lead', flexvols), refusal(exitCodes.notFound, "'lead'", 'lma/gold'))
    assert.throws(() => resolveFlexVol('gold', []), refusal(exitCodes.notFound, 'nor any other'))
  })
})

describe('a share', () => {
  const docs = shareOf('lma', 'd0c5', 'docs')
  const all = [...flexvols, docs, shareOf('lma', 'beef', null), shareOf('lma', 'cafe', 'gold')]
  for (const wish of ['docs', 'd0c5', '10.0.0.1:/share_d0c5', 'share_d0c5', 'lma/share_d0c5', 'share/docs']) {
    it(`by ${wish}`, () => assert.equal(resolveFlexVol(wish, all), docs))
  }
  it('with the name of a FlexVol is told from it, and a list says which are shares', () => {
    assert.throws(
      () => resolveFlexVol('gold', all),
      refusal(exitCodes.refused, 'lma/gold  on a@n\n', 'lma/share_cafe  on a@n  share gold'),
    )
    assert.equal(resolveFlexVol('share/gold', all).share?.id, 'cafe')
    assert.equal(resolveFlexVol('lma/gold', all), gold)
    assert.equal(resolveFlexVol('beef', all).share?.name, null)
    assert.throws(() => resolveFlexVol('lead', all), refusal(exitCodes.notFound, 'share beef'))
  })
})

describe('an aggregate', () => {
  it('by name in its cluster, or by more of its name in all', () => {
    assert.equal(resolveAggregate('aggr1', aggregates, 'lmb').node, 'lmb-01')
    assert.equal(resolveAggregate('lma/aggr1', aggregates).node, 'lma-01')
    assert.equal(resolveAggregate('aggr1@lmb-01', aggregates).cluster, 'lmb')
  })
  it('of another cluster is none, and a name that two have is told', () => {
    assert.throws(
      () => resolveAggregate('aggr2', aggregates, 'lmb'),
      refusal(exitCodes.notFound, "no aggregate 'aggr2' in cluster lmb", 'lmb/aggr1'),
    )
    assert.throws(
      () => resolveAggregate('aggr1', aggregates),
      refusal(exitCodes.refused, 'lma/aggr1', 'lmb/aggr1'),
    )
  })
})

describe('what is vacated', () => {
  it('is an aggregate, or a node', () => {
    assert.deepEqual(resolveVacated('aggr2', aggregates), { cluster: 'lma', aggregate: 'aggr2' })
    assert.deepEqual(resolveVacated('lma-01', aggregates), { cluster: 'lma', node: 'lma-01' })
    assert.deepEqual(resolveVacated('node/lmb-01', aggregates), { cluster: 'lmb', node: 'lmb-01' })
    assert.deepEqual(resolveVacated('lmb/lmb-01', aggregates), { cluster: 'lmb', aggregate: 'lmb-01' })
  })
  it('a name of both is told, with what means one of them', () => {
    assert.throws(
      () => resolveVacated('lmb-01', aggregates),
      refusal(exitCodes.refused, 'lmb/lmb-01', 'node/lmb-01'),
    )
    assert.throws(() => resolveVacated('attic', aggregates), refusal(exitCodes.notFound, 'node/lma-02'))
  })
})
