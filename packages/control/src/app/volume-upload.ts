import type { Principal } from '../domain/principal.ts'
import type { VolumeRecords } from '../ports/records.ts'
import { changeableVolume, notSupported } from './volume-access.ts'

/** Making an image of a volume. */
export interface VolumeUploads {
  upload(
    principal: Principal,
    volumeId: string,
    request: { imageName: string; diskFormat: string; containerFormat: string; force: boolean },
  ): Promise<Record<string, unknown>>
}

/** The image service takes uploads from clients alone as yet. */
export const createVolumeUploads = (sources: { volumes: VolumeRecords }): VolumeUploads => ({
  async upload(principal, volumeId) {
    await changeableVolume(
      sources.volumes,
      principal,
      volumeId,
      'volume_extension:volume_actions:upload_image',
    )
    throw notSupported(
      'Uploading a volume to the image service is not supported. Create a volume from this one with source_volid.',
    )
  },
})
