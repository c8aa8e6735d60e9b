import type { Image, ImageMember } from '../../domain/image.ts'

/** Glance's times are to the second. */
const glanceTime = (time: string): string => time.replace(/\.\d+Z$/, 'Z')

export const imageView = (image: Image): Record<string, unknown> => ({
  // First: no property may stand in for an attribute.
  ...image.properties,
  id: image.id,
  name: image.name,
  status: image.status,
  visibility: image.visibility,
  protected: image.protected,
  os_hidden: image.hidden,
  owner: image.owner,
  disk_format: image.diskFormat,
  container_format: image.containerFormat,
  size: image.sizeBytes,
  virtual_size: image.virtualSizeBytes,
  checksum: image.checksum,
  os_hash_algo: image.hashValue === null ? null : 'sha512',
  os_hash_value: image.hashValue,
  min_disk: image.minDiskGib,
  min_ram: image.minRamMib,
  tags: image.tags,
  created_at: glanceTime(image.createdAt),
  updated_at: glanceTime(image.updatedAt),
  self: `/v2/images/${image.id}`,
  file: `/v2/images/${image.id}/file`,
  schema: '/v2/schemas/image',
})

export const memberView = (member: ImageMember) => ({
  image_id: member.imageId,
  member_id: member.member,
  status: member.status,
  created_at: glanceTime(member.createdAt),
  updated_at: glanceTime(member.updatedAt),
  schema: '/v2/schemas/member',
})
