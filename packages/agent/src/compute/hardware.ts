import type { GuestHardware } from '@volant/contract'
import type { QmpClient } from '@volant/qemu'

interface PciBus {
  devices: { slot: number; function: number; qdev_id: string }[]
}

const machineSuffix = '-machine'

const hex = (value: number): string => value.toString(16)

/** What another QEMU must have the same of to go on with this guest. */
export const hardwareOf = async (
  qmp: QmpClient,
  accelerator: GuestHardware['accelerator'],
): Promise<GuestHardware> => {
  const type = String(await qmp.execute('qom-get', { path: '/machine', property: 'type' }))
  const buses = (await qmp.execute('query-pci')) as PciBus[]
  const devices = buses.flatMap((bus) => bus.devices).filter(({ qdev_id }) => qdev_id !== '')
  return {
    machine: type.endsWith(machineSuffix) ? type.slice(0, -machineSuffix.length) : type,
    accelerator,
    pciAddresses: Object.fromEntries(
      devices.map(({ qdev_id, slot, function: number }) => [qdev_id, `${hex(slot)}.${hex(number)}`]),
    ),
  }
}

/** As the machine was started with. */
export const memoryBytesOf = async (qmp: QmpClient): Promise<number> => {
  const { 'base-memory': bytes } = (await qmp.execute('query-memory-size-summary')) as {
    'base-memory': number
  }
  return bytes
}
