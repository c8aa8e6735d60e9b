import { createHash } from 'node:crypto'

/** A service of the catalogue. `path` is below the server's origin; `{project_id}` is the token's project. */
export interface CatalogService {
  type: string
  name: string
  path: string
}

export const defaultCatalog: readonly CatalogService[] = [
  { type: 'identity', name: 'keystone', path: '/identity/v3' },
  { type: 'image', name: 'glance', path: '/image' },
  // Clients that ask for `block-storage` or `volume` find it under this name too: it is an alias of theirs.
  { type: 'volumev3', name: 'cinderv3', path: '/volume/v3/{project_id}' },
  { type: 'compute', name: 'nova', path: '/compute/v2.1' },
  { type: 'sharev2', name: 'manilav2', path: '/share/v2' },
]

export const interfaces = ['public', 'internal', 'admin'] as const
export const regionName = 'RegionOne'

export interface CatalogEntry {
  id: string
  type: string
  name: string
  endpoints: { id: string; interface: string; region: string; region_id: string; url: string }[]
}

/** Ids that stay the same from start to start without being stored. */
export const catalogId = (...parts: string[]): string =>
  createHash('sha256').update(parts.join('/')).digest('hex').slice(0, 32)

/** The catalogue of a token. Services whose address holds a project's id need a project. */
export function catalogFor(
  services: readonly CatalogService[],
  origin: string,
  projectId: string | null,
): CatalogEntry[] {
  return services
    .filter((service) => projectId !== null || !service.path.includes('{project_id}'))
    .map((service) => ({
      id: catalogId(service.type),
      type: service.type,
      name: service.name,
      endpoints: interfaces.map((kind) => ({
        id: catalogId(service.type, kind),
        interface: kind,
        region: regionName,
        region_id: regionName,
        url: origin + service.path.replace('{project_id}', projectId ?? ''),
      })),
    }))
}
