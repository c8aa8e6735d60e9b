import type { Kysely, Selectable } from 'kysely'
import type { Project } from '../../../domain/identity.ts'
import { defined, flag, isSet } from '../../columns.ts'
import type { Database } from '../../schema.ts'
import type { ProjectTable } from '../../tables/identity.ts'

export interface ProjectFilter {
  name?: string | undefined
  domainId?: string | undefined
  parentId?: string | undefined
  enabled?: boolean | undefined
  ids?: readonly string[] | undefined
}

const fromRow = (row: Selectable<ProjectTable>): Project => ({
  id: row.id,
  domainId: row.domain_id,
  parentId: row.parent_id,
  name: row.name,
  description: row.description,
  enabled: isSet(row.enabled),
  tags: JSON.parse(row.tags) as string[],
})

export function projectRecords(db: Kysely<Database>) {
  return {
    async find(id: string): Promise<Project | undefined> {
      const row = await db.selectFrom('projects').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async byName(domainId: string, name: string): Promise<Project | undefined> {
      const row = await db
        .selectFrom('projects')
        .selectAll()
        .where('domain_id', '=', domainId)
        .where('name', '=', name)
        .executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async list(filter: ProjectFilter = {}): Promise<Project[]> {
      let query = db.selectFrom('projects').selectAll().orderBy('name').orderBy('id')
      if (filter.name !== undefined) query = query.where('name', '=', filter.name)
      if (filter.domainId !== undefined) query = query.where('domain_id', '=', filter.domainId)
      if (filter.parentId !== undefined) query = query.where('parent_id', '=', filter.parentId)
      if (filter.enabled !== undefined) query = query.where('enabled', '=', flag(filter.enabled))
      if (filter.ids !== undefined) query = query.where('id', 'in', [...filter.ids])
      return (await query.execute()).map(fromRow)
    },
    async create(project: Project, now: string): Promise<void> {
      await db
        .insertInto('projects')
        .values({
          id: project.id,
          domain_id: project.domainId,
          parent_id: project.parentId,
          name: project.name,
          description: project.description,
          enabled: flag(project.enabled),
          tags: JSON.stringify(project.tags),
          created_at: now,
        })
        .execute()
    },
    async update(
      id: string,
      fields: Partial<Pick<Project, 'name' | 'description' | 'enabled' | 'tags'>>,
    ): Promise<void> {
      const set = defined({
        name: fields.name,
        description: fields.description,
        enabled: fields.enabled === undefined ? undefined : flag(fields.enabled),
        tags: fields.tags === undefined ? undefined : JSON.stringify(fields.tags),
      })
      if (Object.keys(set).length === 0) return
      await db.updateTable('projects').set(set).where('id', '=', id).execute()
    },
    /** With the assignments and application credentials that name it. */
    async remove(id: string): Promise<void> {
      await db.deleteFrom('role_assignments').where('target_id', '=', id).execute()
      await db.deleteFrom('application_credentials').where('project_id', '=', id).execute()
      await db
        .updateTable('users')
        .set({ default_project_id: null })
        .where('default_project_id', '=', id)
        .execute()
      await db.deleteFrom('projects').where('id', '=', id).execute()
    },
  }
}
