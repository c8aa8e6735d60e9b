import { computeClient, type ComputeClient } from './compute.ts'
import { imageClient, type ImageClient } from './image.ts'
import { ndoClient, type NdoClient } from './ndo.ts'
import { createSession, type Credentials, type Session } from './session.ts'
import { volumeClient, type VolumeClient } from './volume.ts'

export { ApiError } from './api-error.ts'
export type { ComputeClient, Server } from './compute.ts'
export type { Image, ImageClient } from './image.ts'
export type { MigrationWish, MoveControl, MoveWish, NdoClient, PlanWish, VacateWish } from './ndo.ts'
export type { Credentials, Session } from './session.ts'
export type { Pool, Volume, VolumeClient } from './volume.ts'

export interface VolantClient {
  session: Session
  ndo: NdoClient
  volume: VolumeClient
  compute: ComputeClient
  image: ImageClient
}

/** A client with one session for all services. Nothing is sent before the first call. */
export function createClient(credentials: Credentials): VolantClient {
  const session = createSession(credentials)
  return {
    session,
    ndo: ndoClient(session),
    volume: volumeClient(session),
    compute: computeClient(session),
    image: imageClient(session),
  }
}
