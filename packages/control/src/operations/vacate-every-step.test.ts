import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { vacateRig } from '../testing/vacate.ts'
import { vacateAggregate, type VacateAggregateInput, type VacateAggregatePorts } from './vacate-aggregate.ts'

const input: VacateAggregateInput = {
  cluster: 'c',
  node: 'n1',
  name: 'old',
  whole: false,
  aggregates: ['old'],
  to: null,
}

everyStep<VacateAggregateInput, VacateAggregatePorts>(vacateAggregate, {
  fresh: async () => {
    const names = ['one', 'two', 'three', 'four', 'five', 'six']
    const rig = vacateRig(names)
    return {
      input,
      ports: rig.ports,
      invariants: ({ run }: Result) => {
        const moved = [...rig.at('a'), ...rig.at('b')]
        assert.deepEqual([...moved, ...rig.at('old')].toSorted(), names.toSorted(), 'none is lost')
        if (run.state === 'succeeded') assert.deepEqual(rig.at('old'), [])
        for (const part of rig.parts) assert.notEqual(part.endedAt, null, 'no move is left under way')
        for (const flexvol of rig.flexvols.values()) assert.equal(flexvol.destination, null)
        const asked = rig.started.map(({ flexvolId }) => flexvolId)
        assert.deepEqual(asked, [...new Set(asked)], 'each is moved once, whatever happened in between')
        for (const request of rig.started) assert.equal(request.parent, run.id)
      },
      close: () => {},
    }
  },
})
