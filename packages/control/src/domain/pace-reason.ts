/** Why a copy goes as fast as it does, in words for an operator. Pure. */
import type { Told } from './paced-copy.ts'

export const ratePerSecond = (bps: number): string =>
  bps >= 1024 * 1024
    ? `${Math.round((bps / 1024 / 1024) * 10) / 10} MiB/s`
    : `${Math.round(bps / 1024)} KiB/s`

const milliseconds = (ms: number): string => `${ms >= 10 ? Math.round(ms) : Math.round(ms * 10) / 10} ms`

/** `its client`, or that of another volume on the same disks. */
const whose = (client: string | null, own: string | null): string =>
  client === null ? 'nobody' : client === own ? 'its client' : `the client of volume ${client}`

export interface Circumstances {
  told: Told
  /** The copied volume. */
  volumeId: string | null
  isAtFloor: boolean
  floorBps: number
  /** The floor was raised, so that the copy outruns what its client writes. */
  isRaised: boolean
  isShaped: boolean
}

export function latencyReason({
  told,
  volumeId,
  isAtFloor,
  floorBps,
  isRaised,
  isShaped,
}: Circumstances): string {
  const who = whose(told.client, volumeId)
  const figures =
    told.p99Ms === null || told.boundMs === null
      ? ''
      : `the p99 of ${who} is ${milliseconds(told.p99Ms)}, its bound ${milliseconds(told.boundMs)}`
  const floor = isRaised
    ? `; it does not go below ${ratePerSecond(floorBps)}, so as to outrun what its client writes`
    : isAtFloor
      ? `; it does not go below ${ratePerSecond(floorBps)}`
      : ''
  const shaped = isShaped ? '; its client is held back until the copy has caught up, and is not asked' : ''
  switch (told.state) {
    case 'idle':
      return `nobody waits for these disks${shaped}${isRaised ? floor : ''}`
    case 'measuring':
      return `${who} has begun to work: what it waits for without the copy is being measured`
    case 'checking':
      return `${figures === '' ? `what ${who} waits for` : figures}: it is looked at what that is without the copy`
    case 'over':
      return `${figures}${floor}${shaped}`
    case 'under':
      return `${figures}: it may go faster${floor}${shaped}`
    case 'steady':
      return `${figures === '' ? `what ${who} waits for now is not known yet` : figures}${floor}${shaped}`
  }
}
