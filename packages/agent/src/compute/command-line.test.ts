import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GuestSpec } from '@volant/contract'
import { defaultReconnectDelaySeconds, isSafelyCopied, qemuArguments } from './command-line.ts'
import { diskNames, guestPaths } from './names.ts'

const attachmentId = '1f0c2a6e-3f55-4a0c-9a5e-000000000001'
const spec: GuestSpec = {
  serverId: '8b1abd70-6e30-4265-b585-a8e36d512db7',
  name: 'web,file=/etc/shadow',
  vcpus: 2,
  memoryMiB: 256,
  disks: [
    {
      attachmentId,
      volumeId: '7d4c0e1e-0000-4000-8000-000000000001',
      socketPath: '/run/a,b/head',
      exportName: 'name',
      boot: true,
    },
  ],
  nics: [],
}
const choice = { accelerator: 'tcg', reconnectDelaySeconds: defaultReconnectDelaySeconds } as const
const argumentsOf = (more: Partial<GuestSpec> = {}, stateDir = '/state') =>
  qemuArguments({ ...spec, ...more }, guestPaths(stateDir, '/run', spec.serverId), choice)

const after = (words: string[], option: string, holds: string): Record<string, unknown> => {
  const found = words.find((word, index) => words[index - 1] === option && word.includes(holds))
  assert.ok(found !== undefined, `${option} … ${holds}`)
  return JSON.parse(found) as Record<string, unknown>
}

test('a disk stops the guest on errors, waits for its head, and has a thread of its own', () => {
  const words = argumentsOf()
  const names = diskNames(attachmentId)
  const device = after(words, '-device', names.device)
  assert.deepEqual(
    [device.serial, device.werror, device.rerror, device.iothread, device.drive],
    ['7d4c0e1e-0000-4000-8', 'stop', 'stop', names.iothread, names.node],
  )
  const blockdev = after(words, '-blockdev', names.node)
  assert.equal(blockdev['reconnect-delay'], defaultReconnectDelaySeconds)
  assert.deepEqual(blockdev.server, { type: 'unix', path: '/run/a,b/head' })
  assert.equal(after(words, '-object', names.iothread)['qom-type'], 'iothread')
  assert.ok(names.node.length <= 31, 'QEMU limits node names to 31 bytes')
})

test("no text of the user's becomes part of an option, and paths cannot end one", () => {
  assert.ok(!argumentsOf().some((word) => word.includes('shadow')))
  assert.ok(
    argumentsOf({}, '/st,ate').includes(
      `file,id=console0,path=/st,,ate/guests/${spec.serverId}/console.log,append=on`,
    ),
  )
  assert.throws(() => guestPaths('/state', '/run', '../x'), { code: 'invalid' })
  assert.throws(() => guestPaths('/state', `/${'r'.repeat(80)}`, spec.serverId), /shorter run folder/)
  assert.throws(
    () => argumentsOf({ nics: [{ bridge: 'br0', mac: 'fa:16:3e:00:00:01,x=y' }] }),
    /no MAC address/,
  )
})

test('the firmware gets a boot order, a kernel of its own needs none', () => {
  const rootDisk = { sourcePath: '/image', sourceFormat: 'raw', sizeBytes: 2 ** 20 } as const
  const booted = argumentsOf({ rootDisk })
  assert.equal(after(booted, '-device', 'rootdisk').bootindex, 0)
  assert.equal(after(booted, '-device', diskNames(attachmentId).device).bootindex, 1)
  const kernel = { path: '/vmlinuz', initrdPath: '/initrd', commandLine: 'console=ttyS0, quiet' }
  const direct = argumentsOf({ rootDisk, kernel })
  assert.equal(after(direct, '-device', 'rootdisk').bootindex, undefined)
  assert.equal(direct[direct.indexOf('-append') + 1], 'console=ttyS0, quiet')
})

test('a guest that is received has its devices where it had them, and a tap of another name than where it comes from', () => {
  const { device } = diskNames(attachmentId)
  const nics = [{ bridge: 'br0', mac: 'fa:16:3e:00:00:01' }]
  const paths = guestPaths('/state', '/run', spec.serverId)
  const pciAddresses = { [device]: '5.0', nic0: '3.0' }
  const incoming = { machine: 'pc-i440fx-7.1', accelerator: 'tcg', pciAddresses } as const
  const words = qemuArguments({ ...spec, nics }, paths, { ...choice, tapSalt: 'm', incoming })
  assert.equal(after(words, '-device', device).addr, '5.0')
  assert.equal(after(words, '-device', 'nic0').addr, '3.0')
  assert.equal(words[words.indexOf('-machine') + 1], 'pc-i440fx-7.1')
  assert.deepEqual(words.slice(-3), ['-S', '-incoming', 'defer'])
  const tapOf = (all: string[]): string | undefined => all.find((word) => word.startsWith('tap,'))
  assert.notEqual(tapOf(words), tapOf(qemuArguments({ ...spec, nics }, paths, choice)))
  const strange = { ...incoming, pciAddresses: { nic0: '3.0' } }
  const started = () => qemuArguments({ ...spec, nics }, paths, { ...choice, incoming: strange })
  assert.throws(started, { code: 'invalid' })
})

test('the memory of an emulated guest is never one of which QEMU misses writes as it copies it', () => {
  const memoryOf = (accelerator: 'kvm' | 'tcg'): number => {
    const words = qemuArguments(spec, guestPaths('/state', '/run', spec.serverId), { ...choice, accelerator })
    return 1024 * Number(/^size=(\d+)K$/.exec(words[words.indexOf('-m') + 1] ?? '')?.[1])
  }
  assert.equal(memoryOf('kvm'), 256 * 2 ** 20)
  assert.ok(memoryOf('tcg') > 256 * 2 ** 20)
  for (const accelerator of ['kvm', 'tcg'] as const) {
    assert.ok(isSafelyCopied(memoryOf(accelerator), accelerator))
  }
  assert.ok(!isSafelyCopied(256 * 2 ** 20, 'tcg'))
})
