import { DomainError } from '@volant/contract'

/** Nova's defaults (`[quota]` in its configuration reference). -1: unlimited. */
export const defaultComputeQuotas = {
  instances: 10,
  cores: 20,
  ram: 50 * 1024,
  key_pairs: 100,
  metadata_items: 128,
  injected_files: 5,
  injected_file_content_bytes: 10240,
  injected_file_path_bytes: 255,
  server_groups: 10,
  server_group_members: 10,
} as const

export type ComputeResource = keyof typeof defaultComputeQuotas
export type ComputeQuotas = Record<ComputeResource, number>

export const computeResources = Object.keys(defaultComputeQuotas) as ComputeResource[]

export interface ComputeUsage {
  instances: number
  cores: number
  /** MiB. */
  ram: number
}

/** What a project has of all that is limited and counted. */
export interface ProjectUsage extends ComputeUsage {
  server_groups: number
}

/** Throws `overQuota` with Nova's words where a project would use more than its limit. */
export function requireQuota(
  limits: Pick<ComputeQuotas, keyof ComputeUsage>,
  used: ComputeUsage,
  more: ComputeUsage,
): void {
  const over = (['cores', 'instances', 'ram'] as const).filter(
    (resource) => limits[resource] >= 0 && used[resource] + more[resource] > limits[resource],
  )
  if (over.length === 0) return
  const list = (values: ComputeUsage | typeof limits): string =>
    over.map((resource) => values[resource]).join(', ')
  throw new DomainError(
    'overQuota',
    `Quota exceeded for ${over.join(', ')}: Requested ${list(more)}, but already used ${list(used)} of ${list(
      limits,
    )} ${over.join(', ')}`,
    { httpStatus: 403 },
  )
}
