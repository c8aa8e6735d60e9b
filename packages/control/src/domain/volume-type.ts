export interface VolumeType {
  id: string
  name: string
  description: string | null
  isPublic: boolean
  extraSpecs: Record<string, string>
  createdAt: string
  updatedAt: string | null
}

/** The type of every volume that names none. It cannot be deleted. */
export const defaultTypeName = '__DEFAULT__'
/** Fixed, so that every control plane of an installation makes the same row. */
export const defaultTypeId = 'd28c0ca6-0000-4000-8000-5f0000de5a17'
