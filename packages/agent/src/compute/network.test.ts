import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tapName } from './names.ts'
import { interfacesIn } from './network.ts'

test("the interfaces of a host are read, and guests' own are none of them: they come and go with each guest", () => {
  const tap = tapName('server', 'fa:16:3e:00:00:01', 'migration')
  const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 2776770   11307    0    0    0     0          0         0  2776770   11307    0    0    0     0       0          0
br-ex.10: 1215645    2751    0    0    0     0          0         0  1782404    4324    0    0    0   427       0          0
${tap}:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
`
  assert.deepEqual(interfacesIn(dev), ['lo', 'br-ex.10'])
})
