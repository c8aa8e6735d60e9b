import test from 'node:test'
import { operation, bind, nothingToUndo } from './operation.ts'

interface Image {
  imageId: string
  sizeBytes: number
}
interface Input {
  volumeId: string
  attempts: number
}
interface Ports {
  images: { ensure(id: string): Promise<Image>; ensureNot(id: string): Promise<void> }
}

const declared = () =>
  operation<Input, Ports>('volume.migrate', { version: 1 }).holds((input) => [`volume/${input.volumeId}`])

const createTarget = {
  do: async () => ({ imageId: 'i', sizeBytes: 1 }),
  undo: nothingToUndo,
}

test('a step reads, typed, what an earlier one returned', () => {
  declared()
    .step('createTarget', {
      do: ({ op, ports }) => ports.images.ensure(op.id),
      undo: ({ op, ports }) => ports.images.ensureNot(op.id),
    })
    .step('startMirror', {
      do: ({ out }) => ({ bytes: out.createTarget.sizeBytes }),
      undo: ({ out }) => {
        out.createTarget.imageId satisfies string
      },
    })
    .wait('inSync', { every: '2s', timeout: '1m', until: ({ out }) => ({ done: out.startMirror.bytes > 0 }) })
    .commit('cutover', {
      do: async () => ({ pauseMs: 1.5 }),
      happened: () => true,
      retryFrom: 'inSync',
      attempts: (input) => input.attempts,
    })
    .step('retire', {
      do: ({ out }) => {
        out.cutover?.pauseMs satisfies number | undefined
      },
    })
})

test('a step reads nothing of a later one, of itself, or of one that does not exist', () => {
  declared()
    // @ts-expect-error there is no earlier step
    .step('a', { do: ({ out }) => out.b, undo: nothingToUndo })
    // @ts-expect-error it is this step
    .step('b', { do: ({ out }) => void out.b, undo: nothingToUndo })
})

test('an undo does not see its own step’s output', () => {
  declared().step('createTarget', {
    do: createTarget.do,
    undo: ({ out }) => {
      // @ts-expect-error `do` may have died before it returned
      void out.createTarget
    },
  })
})

test('the commit’s result may have been eaten by a crash', () => {
  declared()
    .commit('cutover', { do: async () => ({ pauseMs: 1 }), happened: () => true })
    // @ts-expect-error possibly undefined
    .step('report', { do: ({ out }) => out.cutover.pauseMs })
})

test('there is no undo after the commit, and none may be missing before it', (t) => {
  const committed = declared().commit('cutover', { do: () => {}, happened: () => true })
  // @ts-expect-error no undo after the commit
  committed.step('retire', { do: () => {}, undo: nothingToUndo })
  // @ts-expect-error there is one commit only
  t.assert.ok(committed.commit)
  t.assert.throws(() => {
    // @ts-expect-error an undo must be written
    declared().step('a', { do: () => {} })
  }, /no undo/)
})

test('a commit goes back to an earlier wait and nowhere else', (t) => {
  const waiting = declared()
    .step('createTarget', createTarget)
    .wait('inSync', { every: 1, timeout: '1m', until: () => ({ done: true }) })
  t.assert.throws(
    () =>
      // @ts-expect-error a step is no wait
      waiting.commit('cutover', { do: () => {}, happened: () => true, retryFrom: 'createTarget' }),
    /no earlier wait/,
  )
})

test('what a skipped step would have returned may be undefined; before the commit only an undo is skipped', (t) => {
  declared()
    .step('a', { ...createTarget, skipUndo: 'the image stays behind' })
    .commit('cutover', { do: () => {}, happened: () => true })
    .step('count', { do: () => ({ bytes: 1 }), skip: 'nobody needs the number' })
    .step('weigh', { do: () => ({ grams: 1 }) })
    .step('report', {
      do: ({ out }) => {
        out.count?.bytes satisfies number | undefined
        out.weigh.grams satisfies number
        // @ts-expect-error it may have been skipped
        void out.count.bytes
      },
    })
  t.assert.throws(() => {
    // @ts-expect-error a later step needs its result
    declared().step('a', { ...createTarget, skip: 'why not' })
  }, /only its undo can be skipped/)
})

test('no wait is without a bound', (t) => {
  t.assert.throws(() => {
    // @ts-expect-error a timeout or a stallTimeout must be given
    declared().wait('inSync', { every: 1, until: () => ({ done: true }) })
  }, /wait 'inSync' has no bound/)
  // @ts-expect-error a standstill is told by `advance`
  declared().wait('inSync', { every: 1, stallTimeout: '1m', until: () => ({ done: true }) })
})

test('what JSON would change cannot be used as an output', () => {
  declared()
    .step('a', { do: () => ({ at: new Date(), size: 1 }), undo: nothingToUndo })
    .step('b', {
      do: ({ out }) => {
        out.a.size satisfies number
        // @ts-expect-error a Date comes back as a string
        void out.a.at.getTime()
      },
      undo: nothingToUndo,
    })
})

test('an operation is bound to ports of its own type', () => {
  const complete = declared().step('createTarget', createTarget)
  bind(complete, {
    images: { ensure: async () => ({ imageId: '', sizeBytes: 0 }), ensureNot: async () => {} },
  })
  // @ts-expect-error images is missing
  bind(complete, {})
})

test('a wait before the commit may have a way back, which sees what the wait sees; none after it', (t) => {
  const look = { every: '1s', timeout: '1m', until: () => ({ done: true }) } as const
  const undoable = declared()
    .step('createTarget', createTarget)
    .wait('moved', {
      ...look,
      back: {
        every: '1s',
        stallTimeout: '1m',
        until: ({ out }) => ({ done: true, advance: out.createTarget.sizeBytes }),
      },
    })
  // @ts-expect-error a way back needs a bound, too
  t.assert.throws(() => undoable.wait('unbounded', { ...look, back: { every: '1s', until: look.until } }), {
    message: /the way back through wait 'unbounded' has no bound/,
  })
  const committed = undoable.commit('cutover', { do: () => {}, happened: () => true })
  // @ts-expect-error there is no way back from behind the commit
  t.assert.throws(() => committed.wait('late', { ...look, back: look }), { message: /no way back/ })
})
