import assert from 'node:assert/strict'
import { operation } from '../operation.ts'
import { everyStep } from './every-step.ts'

/** A toy move: a thing is on shelf `left`, and must be on `right`; never on both or on none when it is over. */
interface Ports {
  shelves: { left: Set<string>; right: Set<string> }
  marks: Set<string>
  truth: { shelf: 'left' | 'right' }
}

const move = operation<{ id: string }, Ports>('thing.move', { version: 1 })
  .holds(({ id }) => [`thing/${id}`])
  .step('reserve', {
    do: ({ op, ports }) => void ports.marks.add(op.id),
    undo: ({ op, ports }) => void ports.marks.delete(op.id),
  })
  .step('copy', {
    do: ({ input, ports }) => {
      ports.shelves.right.add(input.id)
      return { copied: input.id }
    },
    undo: ({ input, ports }) => void ports.shelves.right.delete(input.id),
  })
  .wait('equal', {
    every: '1s',
    timeout: '1m',
    until: ({ out, ports }) => ({ done: ports.shelves.right.has(out.copy.copied) }),
  })
  .commit('switch', {
    do: ({ ports }) => {
      ports.truth.shelf = 'right'
    },
    happened: ({ ports }) => ports.truth.shelf === 'right',
    retryFrom: 'equal',
  })
  .step('clear', { do: ({ input, ports }) => void ports.shelves.left.delete(input.id) })
  .wait('settled', {
    every: '1s',
    timeout: '1m',
    until: ({ ports }) => ({ done: ports.shelves.left.size === 0 }),
  })
  .step('release', { do: ({ op, ports }) => void ports.marks.delete(op.id) })

const shelves = async () => {
  const ports: Ports = {
    shelves: { left: new Set(['t']), right: new Set<string>() },
    marks: new Set<string>(),
    truth: { shelf: 'left' },
  }
  return {
    input: { id: 't' },
    ports,
    close: () => {},
    invariants: ({ run }: { run: { state: string } }) => {
      assert.equal(ports.truth.shelf, run.state === 'succeeded' ? 'right' : 'left')
      assert.deepEqual([...ports.shelves[ports.truth.shelf]], ['t'], 'the truth holds the thing')
      assert.equal(ports.shelves.left.size + ports.shelves.right.size, 1, 'and nothing else does')
      assert.equal(ports.marks.size, 0, 'no mark is left')
    },
  }
}

everyStep(move, { fresh: shelves })

/** Things go one by one, each for good as far as the step is concerned: the way back is a wait, too. */
const carry = operation<{ from: string[] }, { left: Set<string>; right: Set<string>; names: Set<string> }>(
  'things.carry',
  { version: 1 },
)
  .holds(() => ['things'])
  .step('name', {
    do: ({ op, ports }) => void ports.names.add(op.id),
    undo: ({ op, ports }) => {
      assert.equal(ports.right.size, 0, 'undone only when all is back')
      ports.names.delete(op.id)
    },
  })
  .wait('carried', {
    every: '1s',
    stallTimeout: '1m',
    until: ({ ports }) => carryOne(ports.left, ports.right),
    back: { every: '1s', stallTimeout: '1m', until: ({ ports }) => carryOne(ports.right, ports.left) },
  })
  .step('count', { do: ({ ports }) => ports.right.size, undo: () => {} })

function carryOne(from: Set<string>, to: Set<string>) {
  for (const thing of from) {
    from.delete(thing)
    to.add(thing)
    break
  }
  return { done: from.size === 0, advance: from.size }
}

everyStep(carry, {
  fresh: async () => {
    const ports = {
      left: new Set(['a', 'b', 'c']),
      right: new Set<string>(),
      names: new Set<string>(),
    }
    return {
      input: { from: [...ports.left] },
      ports,
      close: () => {},
      invariants: ({ run }) => {
        const there = run.state === 'succeeded'
        assert.deepEqual([...(there ? ports.right : ports.left)].sort(), ['a', 'b', 'c'])
        assert.equal((there ? ports.left : ports.right).size, 0)
        assert.equal(ports.names.size, there ? 1 : 0)
      },
    }
  },
})

/** Without a commit: undoable to its end. */
const put = operation<{ id: string }, { things: Set<string>; names: Set<string> }>('thing.put', {
  version: 1,
})
  .holds(({ id }) => [`thing/${id}`])
  .step('name', {
    do: ({ input, ports }) => void ports.names.add(input.id),
    undo: ({ input, ports }) => void ports.names.delete(input.id),
  })
  .step('put', {
    do: ({ input, ports }) => void ports.things.add(input.id),
    undo: ({ input, ports }) => void ports.things.delete(input.id),
  })

everyStep(put, {
  fresh: async () => {
    const ports = { things: new Set<string>(), names: new Set<string>() }
    return {
      input: { id: 't' },
      ports,
      close: () => {},
      invariants: ({ run }) => {
        const expected = run.state === 'succeeded' ? ['t'] : []
        assert.deepEqual([[...ports.things], [...ports.names]], [expected, expected])
      },
    }
  },
})
