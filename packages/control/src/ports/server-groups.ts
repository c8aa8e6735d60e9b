import type { GroupPlaces } from '../domain/placement-compute.ts'
import type { ServerGroup } from '../domain/server-group.ts'

/** A group with the ids of its servers; those that were deleted have left it. */
export interface ServerGroupWithMembers extends ServerGroup {
  members: string[]
}

/** What the application may do with the records of server groups. A server joins when it is made: `ServerRecords.create`. */
export interface ServerGroupRecords {
  find(groupId: string): Promise<ServerGroupWithMembers | undefined>
  /** In the order in which they were made. `projectId` absent: every project's. */
  list(
    filter: { projectId?: string },
    page: { limit: number; offset: number },
  ): Promise<ServerGroupWithMembers[]>
  create(group: ServerGroup): Promise<void>
  /** Its servers stay. Tells whether it was there. */
  remove(groupId: string): Promise<boolean>
  countOfProject(projectId: string): Promise<number>
  /** The id of the server's group. */
  ofServer(serverId: string): Promise<string | undefined>
  /** Where the others of the server's group are, and where room is held for them; undefined: it is in none. */
  placesFor(serverId: string): Promise<GroupPlaces | undefined>
}
