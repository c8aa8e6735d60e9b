import assert from 'node:assert/strict'
import { test } from 'node:test'
import { processorFacts, readMachines } from './host-facts.ts'

const cpuinfo = (flags: string) =>
  `processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: ${flags}\nbugs\t\t:\n\nprocessor\t: 1\nmodel name\t: x\nflags\t\t: y\n`

test('processors are the same where their flags are, in whatever order', () => {
  const { cpuModel, cpuFlagsDigest } = processorFacts(cpuinfo('fpu vme de'))
  assert.equal(cpuModel, 'Some CPU @ 2.00GHz')
  assert.match(cpuFlagsDigest ?? '', /^[0-9a-f]{64}$/)
  assert.equal(processorFacts(cpuinfo('de fpu vme ')).cpuFlagsDigest, cpuFlagsDigest)
  assert.notEqual(processorFacts(cpuinfo('de fpu')).cpuFlagsDigest, cpuFlagsDigest)
  assert.deepEqual(processorFacts(''), {})
})

test('the machine types of QEMU are versioned ones', async () => {
  const machines = await readMachines()
  assert.ok(machines.length > 0)
  for (const machine of machines) assert.match(machine, /^pc-i440fx-\d+\.\d+$/)
})
