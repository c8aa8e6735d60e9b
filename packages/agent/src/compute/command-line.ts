import type { GuestDisk, GuestHardware, GuestSpec } from '@volant/contract'
import { DomainError } from '@volant/contract'
import { diskNames, diskSerial, tapName } from './names.ts'
import type { GuestPaths } from './names.ts'

/**
 * Seconds that the guest's requests wait for a lost head to come back: a restart of the head is a pause inside
 * them. After them the request fails, which stops the guest (`rerror`, `werror`) instead of reaching it; the
 * agent continues it when the storage answers. Then QEMU may still wait out its client's back-off (1, 2, 4, 8, at
 * most 16 s between attempts). A monitor command that drains the disk may block for as long as this delay.
 */
export const defaultReconnectDelaySeconds = 30

/** The three parts of a hot-pluggable disk, as arguments of `object-add`, `blockdev-add` and `device_add`. */
export interface DiskParts {
  iothread: Record<string, unknown>
  blockdev: Record<string, unknown>
  device: Record<string, unknown>
}

export const diskParts = (disk: GuestDisk, reconnectDelaySeconds: number): DiskParts => {
  const names = diskNames(disk.attachmentId)
  return {
    iothread: { 'qom-type': 'iothread', id: names.iothread },
    blockdev: {
      driver: 'nbd',
      'node-name': names.node,
      server: { type: 'unix', path: disk.socketPath },
      export: disk.exportName,
      'reconnect-delay': reconnectDelaySeconds,
      cache: { direct: true },
      discard: 'unmap',
    },
    device: {
      driver: 'virtio-blk-pci',
      id: names.device,
      drive: names.node,
      iothread: names.iothread,
      serial: diskSerial(disk.volumeId),
      rerror: 'stop',
      werror: 'stop',
      'write-cache': 'on',
    },
  }
}

/** A boot index where the firmware boots; with a kernel given, QEMU itself takes the first one. */
type BootOrder = (index: number) => { bootindex?: number }

/** A device where the source of an incoming guest has it; else wherever there is room. */
type Placed = (device: Record<string, unknown>) => string

/** The server's own disk: a local file, no serial. */
const rootDiskArguments = (path: string, bootOrder: BootOrder, placed: Placed): string[] => [
  '-blockdev',
  JSON.stringify({
    driver: 'raw',
    'node-name': 'root',
    cache: { direct: true },
    discard: 'unmap',
    file: { driver: 'file', filename: path, aio: 'threads', cache: { direct: true }, discard: 'unmap' },
  }),
  '-device',
  placed({
    driver: 'virtio-blk-pci',
    id: 'rootdisk',
    drive: 'root',
    rerror: 'stop',
    werror: 'stop',
    'write-cache': 'on',
    ...bootOrder(0),
  }),
]

const nicArguments = ({ serverId, nics }: GuestSpec, tapSalt: string | undefined, placed: Placed): string[] =>
  nics.flatMap(({ mac }, index) => {
    if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) {
      throw new DomainError('invalid', `"${mac}" is no MAC address; it must look like fa:16:3e:00:00:01.`)
    }
    return [
      '-netdev',
      `tap,id=net${index},ifname=${tapName(serverId, mac, tapSalt)},script=no,downscript=no`,
      '-device',
      placed({ driver: 'virtio-net-pci', id: `nic${index}`, netdev: `net${index}`, mac }),
    ]
  })

const kernelArguments = (kernel: GuestSpec['kernel']): string[] => {
  if (kernel === undefined) return []
  const initrd = kernel.initrdPath === undefined ? [] : ['-initrd', kernel.initrdPath]
  return ['-kernel', kernel.path, '-append', kernel.commandLine, ...initrd]
}

const diskArguments = (
  disk: GuestDisk,
  reconnectDelaySeconds: number,
  bootOrder: BootOrder,
  placed: Placed,
): string[] => {
  const { iothread, blockdev, device } = diskParts(disk, reconnectDelaySeconds)
  const booted = disk.boot ? { ...device, ...bootOrder(1) } : device
  const json = JSON.stringify
  return ['-object', json(iothread), '-blockdev', json(blockdev), '-device', placed(booted)]
}

export const acceleratorArguments = (accelerator: 'kvm' | 'tcg'): string[] =>
  accelerator === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi', '-cpu', 'max']

/**
 * As it looks which pages of a guest's memory have changed, QEMU (7.2; mended in 9.0) takes a short cut where the memory is
 * whole pieces of 256 KiB, and forgets to tell emulated processors: what these write to such a page afterwards escapes it, the
 * destination has an old page, and the guest's kernel panics; on a busy machine every third migration. A memory that is
 * no whole number of these pieces never takes the short cut. Guests under KVM need none of it.
 */
const memoryKiB = ({ memoryMiB }: GuestSpec, accelerator: 'kvm' | 'tcg'): number =>
  memoryMiB * 1024 + (accelerator === 'tcg' ? oddKiB : 0)
const oddKiB = 8

/** Whether a guest of so many bytes is safe from that. */
export const isSafelyCopied = (memoryBytes: number, accelerator: 'kvm' | 'tcg'): boolean =>
  accelerator === 'kvm' || memoryBytes % (256 * 1024) !== 0

const doubleCommas = (text: string): string => text.replaceAll(',', ',,')

/** The argument that names the QMP socket; only this server's QEMU has it, so it finds a process without record. */
export const qmpChardev = (paths: GuestPaths): string =>
  `socket,id=qmp0,path=${doubleCommas(paths.qmp)},server=on,wait=off`

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export interface MachineChoice {
  accelerator: 'kvm' | 'tcg'
  reconnectDelaySeconds: number
  tapSalt?: string
  /** The guest comes from another host: QEMU waits for it, with the same machine and its devices at the same places. */
  incoming?: GuestHardware
}

const placedBy =
  (hardware: GuestHardware | undefined): Placed =>
  (device) => {
    if (hardware === undefined) return JSON.stringify(device)
    const addr = hardware.pciAddresses[String(device['id'])]
    if (addr === undefined) {
      throw new DomainError('invalid', `The guest has no device ${String(device['id'])} where it comes from.`)
    }
    return JSON.stringify({ ...device, addr })
  }

/**
 * Arguments of qemu-system-x86_64. A `pc` machine: disks plug into its PCI bus directly (ACPI), without ports made
 * beforehand. `-no-shutdown` keeps the process when the guest powers off, so that the agent sees why it ended, and
 * can make a soft reboot of it.
 *
 * Of a guest that is received (7.2): the sandbox hinders neither end; `-cpu max` goes from one emulating host to another
 * of the same QEMU. Its disks are opened at once, so the heads must be there; that every request to them fails in standby
 * does not matter, since all that is read of a disk before the guest runs is its partition table, for its geometry, and a
 * guess replaces that. A head that dies meanwhile and comes back is found again by the guest's first request.
 */
export const qemuArguments = (
  spec: GuestSpec,
  paths: GuestPaths,
  { accelerator, reconnectDelaySeconds, tapSalt, incoming }: MachineChoice,
): string[] => {
  const placed = placedBy(incoming)
  const bootOrder: BootOrder = (index) => (spec.kernel === undefined ? { bootindex: index } : {})
  return [
    ['-name', `guest=${spec.serverId}`],
    uuid.test(spec.serverId) ? ['-uuid', spec.serverId] : [],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-shutdown'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ['-machine', incoming?.machine ?? 'pc', ...acceleratorArguments(accelerator)],
    ['-smp', String(spec.vcpus), '-m', `size=${memoryKiB(spec, accelerator)}K`],
    ['-chardev', qmpChardev(paths), '-mon', 'chardev=qmp0,mode=control'],
    ['-chardev', `file,id=console0,path=${doubleCommas(paths.console)},append=on`],
    ['-serial', 'chardev:console0'],
    kernelArguments(spec.kernel),
    spec.rootDisk === undefined ? [] : rootDiskArguments(paths.rootDisk, bootOrder, placed),
    spec.disks.flatMap((disk) => diskArguments(disk, reconnectDelaySeconds, bootOrder, placed)),
    nicArguments(spec, tapSalt, placed),
    incoming === undefined ? [] : ['-S', '-incoming', 'defer'],
  ].flat()
}
